"""Every error that celeiro raises, as one tree.

    CeleiroError
    ├── FormatError     ValueError         a file is not what the format page says
    │   └── SampleError                    one sample is damaged; the others can be read
    ├── ChangedError    OSError            a file is no longer the one that was opened
    ├── ExistsError     FileExistsError, ValueError   the output is already there
    ├── SourceError     ValueError         a folder, manifest or sequence cannot be packed as it is
    │   └── PictureError                   one picture is missing, damaged or refused
    ├── OptionError     ValueError         options that contradict each other or mean nothing
    ├── ModelError      ValueError         a model cannot be loaded, or answers otherwise than asked
    ├── RowError        ValueError         a row has another shape, dtype or place than the data set
    ├── ResumeError     ValueError         what was begun and what is asked for now differ
    ├── BusyError       BlockingIOError    somebody else is writing the same output
    ├── SpaceError      OSError            the disk is full, or will be
    └── MissingExtraError  ImportError     an optional dependency is not installed

A message has three parts: what was found (quoted), what was wanted, what to do.
Each class also is the built-in error that a caller would expect.
"""

from __future__ import annotations

__all__ = [
    "BusyError",
    "CeleiroError",
    "ChangedError",
    "ExistsError",
    "FormatError",
    "MissingExtraError",
    "ModelError",
    "OptionError",
    "PictureError",
    "ResumeError",
    "RowError",
    "SampleError",
    "SourceError",
    "SpaceError",
]


class CeleiroError(Exception):
    """The root of the tree: catch this to catch everything that celeiro raises."""


class FormatError(CeleiroError, ValueError):
    """A file is damaged, or is of a version, store or layout that this release does not read."""


class SampleError(FormatError):
    """One sample of a file is damaged; all others can still be read."""

    def __init__(self, message: str, sample: int) -> None:
        super().__init__(message)
        self.sample = sample
        """Its number in the file, 0 ≤ sample < N."""

    def __reduce__(self) -> tuple[type[SampleError], tuple[str, int]]:
        """As a worker process sends it to its parent."""
        return type(self), (str(self), self.sample)


class ChangedError(CeleiroError, OSError):
    """A file is no longer the one that was opened: replaced, written to, or cut short."""


class ExistsError(CeleiroError, FileExistsError, ValueError):
    """The output is already there, and celeiro never overwrites unasked."""


class SourceError(CeleiroError, ValueError):
    """A folder, manifest or sequence that cannot be packed as it is."""


class PictureError(SourceError):
    """One picture is missing, damaged, of an unknown kind, or refused.

    The message is the reason alone; who knows the path (the packing job) says it beside.
    """


class OptionError(CeleiroError, ValueError):
    """Options that contradict each other, or a value outside its range."""


class ModelError(CeleiroError, ValueError):
    """A model that cannot be loaded as it was asked for, or that answers otherwise than asked."""


class RowError(CeleiroError, ValueError):
    """A row whose shape, dtype or place does not fit the data set."""


class ResumeError(CeleiroError, ValueError):
    """What was begun and what is asked for now are not the same work."""


class BusyError(CeleiroError, BlockingIOError):
    """Another process is writing the same output."""


class SpaceError(CeleiroError, OSError):
    """The disk is full, or would be before the work is done."""


class MissingExtraError(CeleiroError, ImportError):
    """An optional dependency is not installed; the message holds the line to type."""
