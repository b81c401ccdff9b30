"""`celeiro.open`: any sample of an HDF5 dataset, at once.

    ds = celeiro.open("photos.h5")
    image, label = ds[0]
    images = ds.read([5, 3, 3, 9], out=batch)

The invariant: reading calls no HDF5 and takes no lock, so threads, forked workers and other
programs never wait for each other; and what is given is what the file had when it was opened, or an
error. What a file holds is found once, by opening.py.
"""

from __future__ import annotations

import logging
import operator
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celeiro.errors import ChangedError, FormatError, OptionError, RowError
from celeiro.reading.belief import Belief
from celeiro.reading.cache import Cache
from celeiro.reading.columns import Fields, Lazy, Texts, at_rows, numbers, taken
from celeiro.reading.layouts import Way
from celeiro.reading.opening import open_contents
from celeiro.reading.samples.rows import RowSamples
from celeiro.reading.samples.visiting import visit
from celeiro.reading.source import FileSource
from celeiro.storage.local import File, available_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from celeiro.reading.contents import Contents
    from celeiro.reading.samples.visiting import Part, Work
    from celeiro.reading.source import Source

log = logging.getLogger(__name__)

_TELL_EVERY = 2.0  # seconds

Images = Any
"""One array (N, …), or a list of arrays where samples differ in size."""


def open(
    path: str | os.PathLike[str],
    key: str | None = None,
    *,
    labels: str | npt.ArrayLike | None = None,
    color: Literal["RGB", "BGR", "GRAY"] | None = None,
    cache: Literal["memory"] | None = None,
    verify: bool | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Open an HDF5 file for reading samples: one of ours, or anybody's.

    Parameters
    ----------
    path
        Of the file.
    key
        Name of the samples' data set; by default what our files say, or what in others looks like
        samples.
    labels
        Name of the labels' data set, or the labels themselves, one a sample.
    color
        Order to give the channels in; by default as they are stored, and RGB of picture files.
        ``"GRAY"`` is for picture files (store ``encoded``).
    cache
        ``"memory"`` holds the stored bytes in memory where they fit: pixels, or JPEGs. They are
        loaded in the background, and shared with processes that are forked afterwards.
    verify
        By default samples of ``jpeg``, ``lossless`` and ``encoded`` are checked against their
        CRC-32C whenever they are read. True checks ``pixels`` too (20 µs for 196 KB); False checks
        nothing, for a file that another program changed on purpose.
    workers
        Threads that read and decode a batch; by default as many as cores.
    on_progress
        Of a foreign file with many chunks: told how many of how many HDF5 has listed (2 µs each).

    Returns
    -------
    Dataset
        Its samples.

    Raises
    ------
    FormatError
        No HDF5 file, a damaged one, one without samples, or of a version that is not known.

    Examples
    --------
    >>> import numpy as np, tempfile, celeiro
    >>> folder = tempfile.TemporaryDirectory()
    >>> _ = celeiro.pack(np.zeros((3, 8, 8, 3), np.uint8), folder.name + "/a.h5", labels=[0, 1, 0])
    >>> with celeiro.open(folder.name + "/a.h5") as ds:
    ...     image, label = ds[1]
    >>> image.shape, label
    ((8, 8, 3), 1)
    >>> folder.cleanup()
    """
    if cache not in (None, "memory"):
        raise OptionError(f"cache {cache!r}: wanted 'memory' or None.")
    if color not in (None, "RGB", "BGR", "GRAY"):
        raise OptionError(f"color {color!r}: wanted 'RGB', 'BGR', 'GRAY' or None.")
    if workers is not None and workers < 1:
        raise OptionError(f"workers {workers!r}: wanted at least 1.")
    options = {
        "key": key, "labels": labels, "color": color, "cache": cache, "verify": verify,
        "workers": workers,
    }  # fmt: skip
    return Dataset(_Opened(Path(os.path.abspath(os.fsdecode(path))), options, on_progress))


class _Opened:
    """An open file, which all views of it share."""

    def __init__(
        self,
        path: Path,
        options: dict[str, Any],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.path = path
        self.options = options
        labels = options["labels"]
        named = labels if labels is None or isinstance(labels, str) else None
        try:
            self.file = File(path)
        except OSError as error:
            raise FormatError(
                f"{path}: cannot be read ({error.strerror}). Give the name of an HDF5 file."
            ) from error
        self.cache = Cache(self.file) if options["cache"] == "memory" else None
        source: Source = FileSource(self.file) if self.cache is None else self.cache
        self.contents: Contents = open_contents(
            path,
            Way(source, options["workers"] or available_cores(), on_progress or _logged(path)),
            key=options["key"],
            labels=named,
            color=options["color"],
            verify=options["verify"],
        )
        self.file.check()
        self.file.check_name()  # HDF5 opened it once more
        if labels is not named:
            given = _given(labels, len(self.contents.samples))
            self.contents = replace(self.contents, labels=given)
        self._believed = Belief(self.file, keys=self.contents.keys, reindex=self.contents.reindex)
        if self.cache is not None:
            self.cache.start()

    @property
    def identity(self) -> tuple[int, int]:
        return self.file.size, self.file.stamp

    def read(self, rows: npt.NDArray[np.int64], out: npt.NDArray[Any] | None) -> Images:
        """Samples by their number in the file."""
        return self._believed(lambda: self._read(rows, out))

    def visit(self, rows: npt.NDArray[np.int64], work: Work, parts: Sequence[Part] | None) -> None:
        """Samples by their number in the file, one after the other, to `work`."""
        self._believed(lambda: visit(self.contents.samples, rows, work, parts))

    def will_need(self, first: int, last: int, most: int) -> None:
        """Let the system read ahead neighbours by their number in the file."""
        place = getattr(self.contents.samples, "place", None)
        if place is None:
            return
        self.file.check_open()
        try:
            start, (offset, length) = place(first)[0], place(last - 1)
        except FormatError:  # chunks that are no samples, or were never written
            return
        if start <= offset and offset + length - start <= most:
            self.file.will_need(start, offset + length - start)

    def stored(self, row: int) -> bytes:
        """The stored bytes of one sample by its number in the file."""
        find = getattr(self.contents.samples, "stored", None)
        if find is None:
            raise FormatError(f"{self.path}: its samples have no stored bytes of their own.")
        return self._believed(lambda: bytes(find(row)))

    def _read(self, rows: npt.NDArray[np.int64], out: npt.NDArray[Any] | None) -> Images:
        samples = self.contents.samples
        if samples.shape is None:
            return samples.read_list(rows)
        if out is None:
            out = np.empty((len(rows), *samples.shape), samples.dtype)
        samples.read(rows, out)
        return out


class Dataset:
    """Samples of an HDF5 file, and what stands beside them.

    ``ds[i]`` is ``(image, label)``, the label None where there are none; ``ds[a:b]`` the same for
    several; ``ds["mask"]`` a field. Many threads may read at once, and so may processes forked from
    this one. Pickled, it is the path and how it was opened.
    """

    def __init__(self, opened: _Opened, rows: npt.NDArray[np.int64] | None = None) -> None:
        if rows is not None:
            # Of our own: the caller may shuffle his in place, and the checked ones must stay.
            rows = rows.copy()
            rows.setflags(write=False)
        contents = opened.contents
        self._opened = opened
        self._rows = rows
        self._labels = None if contents.labels is None else at_rows(contents.labels, rows)
        self._keys = None if contents.keys is None else at_rows(contents.keys, rows)
        self._fields = Fields(contents.fields, rows)

    # What it is

    @property
    def path(self) -> Path:
        """The file."""
        return self._opened.path

    @property
    def key(self) -> str:
        """Name of the samples' data set."""
        return self._opened.contents.key

    @property
    def store(self) -> str:
        """``pixels``, ``jpeg``, ``lossless``, ``encoded``; ``hdf5`` of a file that is not ours."""
        return self._opened.contents.store

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(N, H, W, C) or whatever samples are; None for what differs from one to the next."""
        shape = self._opened.contents.samples.shape
        if shape is None:
            return (len(self), None, None, 1 if self.color == "GRAY" else 3)
        return (len(self), *shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples' values, in this machine's byte order."""
        return self._opened.contents.samples.dtype

    @property
    def stored_dtype(self) -> str:
        """Name of their type in the file: ``bfloat16``, given as float32; else that of `dtype`."""
        return getattr(self._opened.contents.samples, "stored_dtype", str(self.dtype))

    @property
    def color(self) -> str:
        """Order of the channels: RGB, BGR or GRAY; empty where it is not known."""
        return self._opened.contents.color

    @property
    def labels(self) -> npt.NDArray[Any] | None:
        """(N,) class numbers or targets, or (N, K); None where there are none. Read-only."""
        return None if self._labels is None else self._labels()

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes 0, 1, …; empty where they have none."""
        return self._opened.contents.label_names

    @property
    def keys(self) -> Texts | None:
        """Where each sample comes from: the path of its source; None where that is not known."""
        return None if self._keys is None else self._keys()

    @property
    def fields(self) -> Mapping[str, Any]:
        """Further columns by name: arrays, `Texts`, `Ragged`, or `Pictures` such as masks."""
        return self._fields

    @property
    def mean(self) -> npt.NDArray[np.float64] | None:
        """Per channel, (C,), in the units of the values, of the whole file; None if unknown."""
        return self._opened.contents.mean

    @property
    def std(self) -> npt.NDArray[np.float64] | None:
        """Deviation per channel, (C,), of the whole file; None if unknown."""
        return self._opened.contents.std

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """(N,) number in the file of each sample: 0, 1, … but for views."""
        return np.arange(len(self)) if self._rows is None else self._rows

    @property
    def is_view(self) -> bool:
        """Whether these are only some samples of the file, or in another order."""
        return self._rows is not None

    @property
    def per_chunk(self) -> int:
        """Samples that are read and decoded together, whichever of them is wanted: mostly 1."""
        return getattr(self._opened.contents.samples, "per_chunk", 1)

    @property
    def is_raw(self) -> bool:
        """Whether values stand in the file as in memory, so that reading is copying."""
        return isinstance(self._opened.contents.samples, RowSamples)

    @property
    def stored_lengths(self) -> npt.NDArray[np.int64] | None:
        """(N,) bytes that each sample takes in the file; None where it has none of its own."""
        lengths = getattr(self._opened.contents.samples, "lengths", None)
        return None if lengths is None else taken(lengths(), self._rows)

    @property
    def checksums(self) -> npt.NDArray[np.uint32] | None:
        """(N,) CRC-32C of each sample's stored bytes; None where they are not kept or looked at."""
        crcs = self._opened.contents.checksums
        return None if crcs is None else taken(crcs(), self._rows)

    @property
    def reencoded(self) -> npt.NDArray[np.uint8] | None:
        """(N,) 1 for picture files that are not their sources' own bytes; None for none."""
        marks = self._opened.contents.reencoded
        return None if marks is None else taken(marks(), self._rows)

    @property
    def shapes(self) -> npt.NDArray[np.uint32] | None:
        """(N, 3) height, width, channels of each, where they differ; else None."""
        shapes = getattr(self._opened.contents.samples, "shapes", None)
        return None if shapes is None else taken(shapes, self._rows)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, such as train, val and test."""
        return tuple(self._opened.contents.splits)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """How the content was made; empty where the file does not say."""
        return self._opened.contents.provenance

    @property
    def cache(self) -> Cache | None:
        """What is held in memory; None without ``cache=``."""
        return self._opened.cache

    # Samples

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._opened.contents.samples) if self._rows is None else len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        """One ``(image, label)``, several as ``(images, labels)``, or a field by its name.

        Raises
        ------
        IndexError, KeyError
            There is no such sample, or field.
        SampleError, ChangedError
            As `read`.
        """
        if isinstance(index, str):
            return self._fields[index]
        if isinstance(index, slice):
            wanted = np.arange(*index.indices(len(self)))
        elif isinstance(index, (list, range, np.ndarray)) and np.ndim(index):
            wanted = numbers(index, len(self))
        else:
            return self._one(operator.index(index))
        labels = self.labels
        return self._read(wanted), None if labels is None else labels[wanted]

    def __getitems__(self, indices: list[int]) -> list[tuple[Any, Any]]:
        """Several ``(image, label)``, read together: PyTorch's DataLoader asks for batches so."""
        images, labels = self[list(indices)]
        return list(zip(images, [None] * len(images) if labels is None else labels, strict=True))

    def __iter__(self) -> Iterator[Any]:
        """Each ``(image, label)`` in turn."""
        return (self._one(number) for number in range(len(self)))

    def read(self, indices: npt.ArrayLike, out: npt.NDArray[Any] | None = None) -> Images:
        """Images in the order asked, which may be any, with duplicates.

        Parameters
        ----------
        indices
            Whole numbers, -len ≤ i < len, or one truth value for each sample.
        out
            Memory to fill, C-contiguous, ``(len(indices), *shape[1:])`` of `dtype`.

        Returns
        -------
        Images
            `out`, or a new array; a list of arrays where samples differ in size.

        Raises
        ------
        SampleError
            One is damaged; what `out` then holds is not specified.
        ChangedError
            The file was written to, or cut short, since it was opened.
        """
        wanted = numbers(indices, len(self))
        if out is not None:
            self._check_out(out, len(wanted))
        return self._read(wanted, out)

    def visit(
        self, indices: npt.ArrayLike, work: Work, parts: Sequence[Part] | None = None
    ) -> None:
        """Give each sample to `work(position, sample, factor)`, in this thread, one at a time.

        For who makes something else of samples at once: each is in memory that the next one takes.

        Parameters
        ----------
        indices
            As for `read`; samples may be given in another order.
        work
            Told the position within `indices`, the sample, and by what factor it is smaller than
            stored. It may be called again for a sample where the file's index was found wrong.
        parts
            What is wanted of each, where less than all will do: of JPEGs (stores ``encoded`` and
            ``jpeg``) no more is decoded then. Other samples come whole, at factor 1.

        Raises
        ------
        SampleError, ChangedError
            As `read`.
        """
        wanted = numbers(indices, len(self))
        self._opened.visit(wanted if self._rows is None else self._rows[wanted], work, parts)

    def will_need(self, first: int, last: int, most: int) -> None:
        """Let the system read ahead samples first ≤ i < last, where they stand together.

        Nothing is done where they take more than `most` bytes, or their place is not known.
        """
        if not self.is_view and self.cache is None:
            self._opened.will_need(first, last, most)

    def stored(self, index: int) -> bytes:
        """The bytes of one sample as they stand in the file, checked, such as those of a JPEG.

        Raises
        ------
        FormatError
            Samples have no bytes of their own, as where a chunk holds several.
        SampleError, ChangedError
            As `read`.
        """
        number = int(numbers(operator.index(index), len(self))[0])
        return self._opened.stored(number if self._rows is None else int(self._rows[number]))

    def select(self, indices: npt.ArrayLike) -> Dataset:
        """A view of some samples, in the order given; nothing is copied."""
        wanted = numbers(indices, len(self))
        return Dataset(self._opened, wanted if self._rows is None else self._rows[wanted])

    def split(self, name: str) -> Dataset:
        """A view of the samples of one split.

        Raises
        ------
        KeyError
            There is no such split.
        """
        splits = self._opened.contents.splits
        if name not in splits:
            there = ", ".join(splits) or "none: pack with --split, or use select"
            raise KeyError(f"{self.path}: no split {name!r}; there are {there}.")
        rows = splits[name]()
        if self._rows is not None:
            rows = self._rows[np.isin(self._rows, rows)]
        return Dataset(self._opened, rows)

    def _one(self, number: int) -> tuple[Any, Any]:
        count = len(self)
        if not -count <= number < count:
            raise IndexError(f"sample {number:,} of {count:,}: wanted -{count:,} ≤ i < {count:,}.")
        wanted = np.array([number if number >= 0 else number + count])
        image = self._read(wanted)[0]
        if self._labels is None:
            return image, None
        label = self._labels()[wanted[0]]
        return image, label.item() if label.ndim == 0 else label

    def _read(self, wanted: npt.NDArray[np.int64], out: npt.NDArray[Any] | None = None) -> Images:
        return self._opened.read(wanted if self._rows is None else self._rows[wanted], out)

    def _check_out(self, out: npt.NDArray[Any], count: int) -> None:
        if self._opened.contents.samples.shape is None:
            raise RowError(
                f"{self.path}: its samples differ in size, so no one array holds them. Leave `out` "
                "out: they come as a list."
            )
        wanted = (count, *self.shape[1:])
        fits = isinstance(out, np.ndarray) and out.shape == wanted and out.dtype == self.dtype
        if not fits or not out.flags.c_contiguous or not out.flags.writeable:
            found = (
                f"{out.dtype} {out.shape}, C-contiguous: {out.flags.c_contiguous}, writeable: "
                f"{out.flags.writeable}"
                if isinstance(out, np.ndarray)
                else type(out).__name__
            )
            raise RowError(
                f"`out` is {found}; wanted a writeable, C-contiguous array of {self.dtype} "
                f"{wanted}, such as np.empty({wanted}, {str(self.dtype)!r})."
            )

    # Life and death

    def close(self) -> None:
        """Let go of the file, for all views; closing again is harmless."""
        close = getattr(self._opened.contents.samples, "close", None)
        if close is not None:
            close()
        if self._opened.cache is not None:
            self._opened.cache.close()
        self._opened.file.close()

    def __enter__(self) -> Self:
        """The dataset itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """The path, how it was opened, and which samples: workers open the file themselves."""
        opened = self._opened
        # A copy of the cache in every worker would not fit where one did.
        options = opened.options
        if options["cache"] == "memory":
            options = {**options, "cache": None}
        return _again, (str(opened.path), options, self._rows, opened.identity)

    def __repr__(self) -> str:
        """One line."""
        shape = ", ".join("?" if side is None else str(side) for side in self.shape)
        classes = f", {len(self.label_names)} classes" if self.label_names else ""
        return f"<celeiro.Dataset {self.path.name!r} {self.store} ({shape}) {self.dtype}{classes}>"

    def _repr_html_(self) -> str:
        """A small table with thumbnails, in notebooks."""
        from celeiro.reading.notebook import table

        return table(self)


def _again(
    path: str, options: dict[str, Any], rows: npt.NDArray[np.int64] | None, identity: object
) -> Dataset:
    """Open what was pickled; ChangedError where it is another file by now."""
    opened = _Opened(Path(path), options)
    if opened.identity != identity:
        raise ChangedError(
            f"{path} was replaced or written to since this dataset was pickled. Open it again."
        )
    return Dataset(opened, rows)


def _logged(path: Path) -> Callable[[int, int], None]:
    """Says in the log, every few seconds, how much of a long list of chunks is there."""
    told = time.monotonic()

    def tell(seen: int, of: int) -> None:
        nonlocal told
        if time.monotonic() - told > _TELL_EVERY:
            told = time.monotonic()
            log.info("%s: HDF5 has listed %d of %d chunks", path, seen, of)

    return tell


def _given(labels: npt.ArrayLike, count: int) -> Lazy[Any]:
    """Labels of the caller's own."""
    values = np.array(labels)  # a copy, which the caller cannot change
    if not values.ndim or len(values) != count or values.dtype.kind not in "biuf":
        raise OptionError(
            f"labels: {values.dtype} {values.shape}; wanted one number, or one row of numbers, for "
            f"each of {count:,} samples, or the name of a data set."
        )
    values.setflags(write=False)
    return Lazy(lambda: values)
