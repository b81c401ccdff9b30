"""Measuring: how a file is laid out, what reading it costs here, and what the machine could do."""
