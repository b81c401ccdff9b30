"""What looking at a file found: faults one by one, remarks, and the answer.

    Findings   gathers, in the thread that asked
    Verdict    what the caller gets

The invariant: every fault is counted, and only so many are kept, so that a file of a million
damaged samples does not fill the memory.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

# Faults of one place are told once; so many places are remembered for that.
_MOST_PLACES = 10_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    name: str
    """Path of the data set; ``/`` for the file as a whole."""
    problem: str
    """What is wrong, in words."""
    sample: int | None = None
    """Number of the sample, 0 ≤ sample < N; None where it is not about one."""
    key: str | None = None
    """Where that sample comes from, if the file says so."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON; what is not UTF-8 in a key is shown as such."""
        return asdict(self) | {"key": None if self.key is None else printed(self.key)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of `celeiro.verify`."""

    path: Path
    """The file."""
    store: str
    """``pixels``, ``jpeg``, ``lossless``, ``encoded``; ``hdf5`` of a file that is not ours; empty
    where that could not be read."""
    samples: int
    """How many it should hold."""
    checked: int
    """How many were looked at, byte by byte."""
    bad: int
    """How many of them are damaged."""
    faults: int
    """All faults, those of samples among them."""
    findings: tuple[Finding, ...]
    """The faults; of very many only the first."""
    remarks: tuple[str, ...]
    """What is worth knowing and no fault."""
    bytes_checked: int
    """Bytes of samples that were read."""
    seconds: float
    """Time that it took."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return asdict(self) | {
            "path": str(self.path),
            "sound": self.sound,
            "findings": [finding.to_json() for finding in self.findings],
        }


class Findings:
    """Faults and remarks as they are found.

    Parameters
    ----------
    most
        Faults that are kept; None for all.
    """

    def __init__(self, most: int | None) -> None:
        self.kept: list[Finding] = []
        self.faults = 0
        self.remarks: list[str] = []
        self._most = most
        self._told: set[tuple[str, str]] = set()
        self._marks = bytearray()
        self._unmarked = 0

    @property
    def bad(self) -> int:
        """Samples with a fault, each counted once."""
        return sum(self._marks) + self._unmarked

    def expect(self, count: int) -> None:
        """Say how many samples there are: one with two faults is then counted once."""
        if not self._marks:
            self._marks = bytearray(count)

    def add(
        self, name: str, problem: str, *, sample: int | None = None, key: str | None = None,
        until: int | None = None,
    ) -> None:  # fmt: skip
        """Note a fault; with `until`, one that samples from `sample` up to it share."""
        if sample is None:
            if (name, problem) in self._told:
                return
            if len(self._told) < _MOST_PLACES:
                self._told.add((name, problem))
        else:
            last = sample + 1 if until is None else until
            if last <= len(self._marks):
                self._marks[sample:last] = b"\1" * (last - sample)
            else:
                self._unmarked += last - sample
        self.faults += 1
        if self._most is None or len(self.kept) < self._most:
            self.kept.append(Finding(name, problem, sample, key))

    def take(self, other: Findings) -> None:
        """All that another has, as if it had been told here."""
        self.faults += other.faults - len(other.kept)
        for each in other.kept:
            self.add(each.name, each.problem, sample=each.sample, key=each.key)
        for text in other.remarks:
            self.remark(text)

    def remark(self, text: str) -> None:
        """Note something that is no fault."""
        if text not in self.remarks:
            self.remarks.append(text)


def printed(text: str) -> str:
    """Text of a file that may hold lone surrogates, as text that can be printed."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
