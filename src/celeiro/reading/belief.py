"""Samples are read, and given out once nothing speaks against them.

What speaks against them: a checksum, where the samples may stand elsewhere by now; and a file that
was written to since it was opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from celeiro.errors import FormatError, SampleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeiro.reading.columns import Lazy, Texts
    from celeiro.storage.local import File

T = TypeVar("T")


class Belief:
    """Calls that read samples of one data set.

    Parameters
    ----------
    what
        What the samples are called in messages.
    keys
        Where each comes from, for messages.
    reindex
        Asks HDF5 where the samples are; True where the file's own index was wrong.
    """

    def __init__(
        self,
        file: File,
        *,
        what: str = "sample",
        keys: Lazy[Texts] | None = None,
        reindex: Callable[[], bool] | None = None,
    ) -> None:
        self._file = file
        self._what = what
        self._keys = keys
        self._reindex = reindex

    def __call__(self, read: Callable[[], T]) -> T:
        """What `read` gives.

        Raises
        ------
        SampleError
            One is damaged; its number and key are told.
        ChangedError
            The file was written to, or cut short, since it was opened.
        """
        self._file.check_open()
        try:
            found = read()
        except SampleError as error:
            self._check()
            # Perhaps the samples are elsewhere by now: another program rewrote the file before.
            if self._reindex is None or not self._reindex():
                raise self._named(error) from error
            try:
                found = read()
            except SampleError as second:
                raise self._named(second) from second
        except Exception:
            # Whatever it was, the reason may be that the file was closed or written to meanwhile.
            self._check()
            raise
        self._check()
        return found

    def _check(self) -> None:
        self._file.check_open()
        self._file.check()

    def _named(self, error: SampleError) -> SampleError:
        return SampleError(
            f"{self._file.path}: {self._what} {error.sample:,}{self._key(error.sample)}: {error}. "
            "The others can be read: `celeiro verify` lists the damaged ones, `celeiro salvage` "
            "keeps the sound ones.",
            error.sample,
        )

    def _key(self, number: int) -> str:
        try:
            return "" if self._keys is None else f" ({self._keys()[number]!r})"
        except FormatError:  # the keys are damaged too
            return ""
