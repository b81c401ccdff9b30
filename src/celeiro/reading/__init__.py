"""Out of the file."""
