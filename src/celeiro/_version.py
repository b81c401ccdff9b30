"""The version of the package; the file format has an integer of its own in format/layout.py."""

__version__ = "0.1.0"
