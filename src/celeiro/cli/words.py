"""Numbers and sentences for people."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any, TextIO

from celeiro.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Names of files and of classes reach the terminal, and may hold whatever moves its cursor or
# colours its text: C0, DEL and C1.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}

_WIDEST = 100
_UNBROKEN = "\N{NO-BREAK SPACE}"  # textwrap takes it for a letter


def say(line: str) -> None:
    """One line to stderr, whatever it holds."""
    _write(sys.stderr, line.translate(_CONTROLS))


def print_out(line: str) -> None:
    """One line to stdout, whatever it holds."""
    _write(sys.stdout, line.translate(_CONTROLS))


def print_json(value: Any) -> None:
    """A value to stdout as JSON; ASCII, so that no pipe and no terminal changes it."""
    _write(sys.stdout, json.dumps(value, indent=2))


def table(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Names and what there is to say of each, the longer ones on several lines.

    Examples
    --------
    >>> table([("store", "jpeg"), ("size", "407 MB")])
    ['store        jpeg', 'size         407 MB']
    """
    width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 0)).columns)
    lines = []
    for name, value in rows:
        lines += textwrap.wrap(
            value, width, initial_indent=f"{name:<12} ", subsequent_indent=" " * 13,
            break_long_words=False, break_on_hyphens=False,
        ) or [name]  # fmt: skip
    return [line.replace(_UNBROKEN, " ") for line in lines]


def together(items: Iterable[str]) -> str:
    r"""Items on one line, or on several in `table`, but none of them torn apart.

    Examples
    --------
    >>> together(["cat 3", "dog 4"]).split(" ")
    ['cat\xa03,', 'dog\xa04']
    """
    return ", ".join(item.replace(" ", _UNBROKEN) for item in items)


def size_of(count: float) -> str:
    """Bytes as people say them, in powers of 1000.

    Examples
    --------
    >>> size_of(407_123_456), size_of(812), size_of(3_001_000)
    ('407 MB', '812 B', '3.00 MB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            break
        count /= 1000
    if unit == "B" or count >= 99.95:
        return f"{count:.0f} {unit}"
    return f"{count:.1f} {unit}" if count >= 9.995 else f"{count:.2f} {unit}"


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def bytes_of(text: str) -> int:
    """A size as people type it, in powers of 1000.

    Examples
    --------
    >>> bytes_of("1GB"), bytes_of("512 MB"), bytes_of("1.5g"), bytes_of("4096")
    (1000000000, 512000000, 1500000000, 4096)
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
    unit = match[2].upper() if match else ""
    if unit and not unit.endswith("B"):
        unit += "B"
    if match is None or unit not in _UNITS:
        raise OptionError(f"--memory {text!r}: wanted a size such as 1GB or 500MB.")
    return int(float(match[1]) * _UNITS[unit])


def time_of(seconds: float) -> str:
    """A time span as people say it.

    Examples
    --------
    >>> time_of(0.01), time_of(7.23), time_of(25), time_of(130), time_of(754), time_of(9000)
    ('< 0.1 s', '7.2 s', '25 s', '2.2 min', '13 min', '2.5 h')
    """
    if seconds < 0.1:
        return "< 0.1 s"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 99.5:
        return f"{minutes:.1f} min" if minutes < 9.95 else f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h"


def rate_of(count: float) -> str:
    """So many a second.

    Examples
    --------
    >>> rate_of(3712.4), rate_of(2.44)
    ('3,712/s', '2.4/s')
    """
    return f"{count:,.0f}/s" if count >= 9.95 else f"{count:.1f}/s"


def share_of(part: float, whole: float) -> str:
    """How much of a whole something is, or how many times as much.

    Examples
    --------
    >>> share_of(85, 100), share_of(407, 4915), share_of(4915, 580)
    ('85 % of', '8.3 % of', '8.5 times')
    """
    ratio = part / whole
    if ratio >= 1.995:
        return f"{ratio:.1f} times"
    return f"{100 * ratio:.0f} % of" if ratio >= 0.0995 else f"{100 * ratio:.1f} % of"


def number_of(count: int, noun: str) -> str:
    """A count with its noun.

    Examples
    --------
    >>> number_of(1, "picture"), number_of(25000, "picture")
    ('1 picture', '25,000 pictures')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def counts(of: Mapping[str, int], most: int) -> str:
    """Names with their counts, for `table`.

    Examples
    --------
    >>> table([("classes", counts({"cat": 3, "dog": 4, "owl": 5}, 2))])
    ['classes      cat 3, dog 4, … (3 in all)']
    """
    shown = [f"{name} {count:,}" for name, count in list(of.items())[:most]]
    if len(of) > most:
        shown.append(f"… ({len(of):,} in all)")
    return together(shown)


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
