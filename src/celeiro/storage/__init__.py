"""Where the bytes live, and the calls that differ between operating systems."""
