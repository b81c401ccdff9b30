"""Numbers and sentences for people."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """One line to stderr, whatever bytes it holds."""
    encoding = sys.stderr.encoding or "utf-8"
    sys.stderr.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def print_out(text: str) -> None:
    """Text to stdout, whatever bytes it holds."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def size_of(count: float) -> str:
    """Bytes as people say them, in powers of 1000.

    Examples
    --------
    >>> size_of(407_123_456), size_of(812)
    ('407 MB', '812 B')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.3g} {unit}"


def time_of(seconds: float) -> str:
    """A time span as people say it.

    Examples
    --------
    >>> time_of(7.23), time_of(754), time_of(9000)
    ('7.2 s', '13 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def counts(of: dict[str, int], most: int = 6) -> str:
    """Names with their counts, on one line.

    Examples
    --------
    >>> counts({"cat": 3, "dog": 4})
    'cat 3, dog 4'
    """
    shown = [f"{name} {count:,}" for name, count in list(of.items())[:most]]
    if len(of) > most:
        shown.append(f"… ({len(of):,} in all)")
    return ", ".join(shown)
