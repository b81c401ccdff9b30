"""Checking: a file against the format page, its checksums, and the pictures it was made of."""
