"""Rescuing: what is left of a damaged file, found and put into a new one."""
