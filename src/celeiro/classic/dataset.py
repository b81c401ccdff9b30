"""`HDF5Dataset` and `HDF5DatasetWriter`: loops that write, safe underneath.

Loops written for the article or the book run unchanged; nothing stands under the output's name
until `close` succeeds.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.classic.written import Database, Written
from celeiro.errors import ExistsError, OptionError, ResumeError, RowError
from celeiro.format import layout
from celeiro.format.bfloat16 import type_of
from celeiro.packing.options import PackOptions
from celeiro.packing.rows import Kind, LabelKind, RowWriter, plain_label, split_rows_of
from celeiro.packing.work import unfinished

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from celeiro.packing.report import Report

__all__ = ["HDF5Dataset", "HDF5DatasetWriter"]


class HDF5Dataset:
    """Rows and their labels, added little by little, as one plain HDF5 file.

    As a context manager it closes on success; after an exception everything flushed is kept, and
    ``resume=True`` goes on.

    Parameters
    ----------
    dims
        Shape of the whole: ``(N, H, W, C)`` images, ``(N, D)`` features, or any other with the
        samples first. N is the most that may be added; fewer close with the true number.
    output_path
        The file to make. An existing one is refused.
    data_key
        Name of the rows' data set.
    buffer_size
        Rows held in memory before they are written.
    dtype
        Of the values; None follows the first rows, so that uint8 stays uint8.
    store
        ``"pixels"``; or ``"jpeg"`` (a twelfth of the bytes, lossy) or ``"lossless"``.
    color
        What is known of the order of the channels: ``"RGB"``, ``"BGR"`` (rows of
        ``cv2.imread``), ``"GRAY"`` or nothing.
    resume
        Go on with work that was begun and not closed; `idx` tells where.
    fresh
        Throw such work away.
    overwrite
        Replace an existing file, once the new one is whole.

    Attributes
    ----------
    idx
        Number of the next row to be written: rows before it are in the file.
    buffer
        ``{"data": [...], "labels": [...]}``: rows added and not yet written.
    db, data, labels
        What is written so far, as a mapping of data sets, the rows, and the labels.

    Raises
    ------
    ExistsError
        `output_path` is there already; also a ``ValueError`` and a ``FileExistsError``.

    Examples
    --------
    >>> import tempfile, h5py
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/tiny.h5"
    >>> with HDF5Dataset((3, 2, 2, 3), path) as dataset:
    ...     dataset.store_class_labels(["cat", "dog"])
    ...     dataset.add(np.zeros((3, 2, 2, 3), np.uint8), [0, 1, 0])
    >>> with h5py.File(path) as file:
    ...     file["imagens"].dtype, file["labels"][:], file["label_names"][:]
    (dtype('uint8'), array([0, 1, 0]), array([b'cat', b'dog'], dtype='|S3'))
    >>> folder.cleanup()
    """

    def __init__(
        self,
        dims: Sequence[int],
        output_path: str | os.PathLike[str],
        data_key: str = layout.DATA_KEY,
        buffer_size: int = 500,
        *,
        dtype: npt.DTypeLike | None = None,
        store: layout.Store = "pixels",
        quality: int = 90,
        color: layout.Color = "",
        resume: bool = False,
        fresh: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.dims = tuple(int(d) for d in dims)
        if len(self.dims) < 1 or min(self.dims) < 1:
            raise OptionError(
                f"dims {tuple(dims)}: wanted the number of rows and then the shape of one, all "
                "1 or more, such as (25000, 256, 256, 3)."
            )
        if buffer_size < 1:
            raise OptionError(f"buffer_size {buffer_size}: wanted 1 row or more.")
        self.output_path = Path(os.path.abspath(output_path))
        self.buffer_size = buffer_size
        self.buffer: dict[str, list[Any]] = {"data": [], "labels": []}
        self._options = PackOptions(store=store, key=data_key, quality=quality, color=color)
        self._overwrite = overwrite
        self._resume = resume
        self._fresh = fresh
        self._dtype = None if dtype is None else Kind((), type_of(dtype)).dtype
        self._names: tuple[str, ...] = ()
        self._writer: RowWriter | None = None
        self._label_kind: LabelKind | None = None
        self._closed = False
        begun = unfinished(self.output_path, overwrite=overwrite)
        if begun is not None and resume and not fresh:
            self._go_on(begun)
        elif begun is not None and not fresh:
            raise ExistsError(
                f"{self.output_path}.partial holds unfinished work. Go on with it (resume=True), "
                "or throw it away (fresh=True)."
            )

    @property
    def idx(self) -> int:
        """Number of the next row to be written."""
        return 0 if self._writer is None else self._writer.progress.done

    @property
    def data(self) -> Written:
        """The rows written so far, to be indexed like an array."""
        return Written(self)

    @property
    def labels(self) -> npt.NDArray[Any]:
        """The labels written so far."""
        return self._written_labels()

    @property
    def db(self) -> Database:
        """What is written so far, by name of data set."""
        return Database(self)

    def store_class_labels(self, class_labels: Iterable[str]) -> None:
        """Keep the names of the classes 0, 1, …, as the data set ``label_names``."""
        self._open_or_fail()
        self._names = tuple(
            name.decode() if isinstance(name, bytes) else str(name) for name in class_labels
        )
        if self._writer is not None:
            self._writer.work.keep("label_names", list(self._names))

    def add(self, rows: Any, labels: Any = None) -> None:
        """Add a batch of rows with a label each, or one row with its label.

        The rows are copied, so their memory may be used again.

        Raises
        ------
        RowError
            More rows than `dims` has, or a row of another shape or dtype; it is named, and
            nothing of this call is added.
        """
        self._open_or_fail()
        batch, targets = self._batch(rows, labels)
        room = self.dims[0] - self.idx - len(self.buffer["data"])
        if len(batch) > room:
            raise RowError(
                f"{len(batch)} rows for the {room} that are left of {self.dims[0]}: nothing was "
                f"added. Make dims larger than {self.dims}."
            )
        if not batch:
            return
        kind, label_kind = self._kinds(batch, targets)
        for at, (row, target) in enumerate(zip(batch, targets, strict=True)):
            if reason := kind.misfit(row) or label_kind.misfit(target):
                raise RowError(f"row {len(self) + at}: {reason}. Nothing of this call was added.")
        self._begin(kind)
        self._label_kind = label_kind
        rest = iter(list(zip(batch, targets, strict=True)))
        try:
            for row, target in rest:
                self._append(row, target)
                if len(self.buffer["data"]) >= self.buffer_size:
                    self._write()
        except BaseException:
            # The disk is full, say: what was added stays added, and `flush` tries again.
            for row, target in rest:
                self._append(row, target)
            raise

    def flush(self) -> None:
        """Write what is buffered; once this returns, no kill and no power cut loses it."""
        self._open_or_fail()
        self._write()
        if self._writer is not None:
            self._writer.work.sync()

    def close(self) -> Report | None:
        """Write what is left and give the file its name; None if it was closed before.

        Raises
        ------
        RowError
            Not one row was added, so the type of the values is unknown.
        """
        if self._closed:
            return None
        self._write()
        if self._writer is None:
            raise RowError(
                f"{self.output_path}: not one row was added, so there is nothing to store. "
                "Add rows before close."
            )
        report = self._writer.publish(label_names=self._names)
        self._let_go()
        return report

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close on success; after an exception keep what can be gone on with."""
        try:
            if kind is None:
                self.close()
        finally:
            self._let_go()

    def __len__(self) -> int:
        """Rows added so far, buffered ones included."""
        return self.idx + len(self.buffer["data"])

    def __repr__(self) -> str:
        """One line: what, where, how far."""
        state = "closed" if self._closed else f"{len(self):,} of {self.dims[0]:,} rows"
        return f"{type(self).__name__}({self.dims}, {str(self.output_path)!r}: {state})"

    def __del__(self) -> None:
        """Let go of the lock, so that another can go on."""
        if getattr(self, "_writer", None) is not None:
            self._let_go()

    # -- helpers, in the order in which they are called --

    def _open_or_fail(self) -> None:
        if self._closed:
            raise RowError(f"{self.output_path} is closed. Open a new one to add more rows.")

    def _batch(self, rows: Any, labels: Any) -> tuple[list[npt.NDArray[Any]], list[Any]]:
        """Rows and labels as two lists of one length."""
        batch, single = split_rows_of(rows, len(self.dims) - 1)
        if labels is None:
            return batch, [None] * len(batch)
        targets = [labels] if single and np.ndim(labels) == 0 else list(labels)
        if single and len(targets) != 1:
            targets = [np.asarray(labels)]  # one row with several labels
        if len(targets) != len(batch):
            raise RowError(
                f"{len(batch)} rows and {len(targets)} labels: wanted one each. "
                "Nothing of this call was added."
            )
        return batch, [self._target(len(self) + at, target) for at, target in enumerate(targets)]

    def _target(self, row: int, label: Any) -> npt.NDArray[Any] | None:
        try:
            return plain_label(label)
        except RowError as error:
            raise RowError(f"row {row}: {error}. Nothing of this call was added.") from None

    def _kinds(
        self, batch: list[npt.NDArray[Any]], targets: list[npt.NDArray[Any] | None]
    ) -> tuple[Kind, LabelKind]:
        """What all rows and all labels are: as the first ones, in the shape of `dims`."""
        label_kind = self._label_kind or LabelKind.of(targets[0])
        if self._writer is not None:
            return self._writer.kind, label_kind
        return Kind(self.dims[1:], self._dtype or batch[0].dtype), label_kind

    def _append(self, row: npt.NDArray[Any], target: npt.NDArray[Any] | None) -> None:
        assert self._writer is not None
        self.buffer["data"].append(np.array(row, self._writer.codec.dtype))
        single = target is None or not target.ndim
        self.buffer["labels"].append(target.item() if target is not None and single else target)

    def _begin(self, kind: Kind) -> None:
        if self._writer is None:
            self._writer = RowWriter(
                self.output_path,
                self._options,
                kind,
                total=self.dims[0],
                identity={"dims": list(self.dims)},
                color=self._options.color,
                overwrite=self._overwrite,
                resume=self._resume,
                fresh=self._fresh,
            )
            if self._names:
                self._writer.work.keep("label_names", list(self._names))

    def _go_on(self, begun: Mapping[str, Any]) -> None:
        """Open work that an earlier run began, and see how far it came."""
        try:
            shape, dtype = begun["rows"]
            kind = Kind(tuple(shape), type_of(dtype))
        except (KeyError, TypeError, ValueError):
            raise ResumeError(
                f"{self.output_path}.partial was not begun by this class. Go on with what began "
                "it, or remove it."
            ) from None
        self._begin(kind)
        assert self._writer is not None
        self._names = tuple(self._writer.work.kept("label_names") or ())
        self._label_kind = self._writer.label_kind

    def _write(self) -> None:
        """Commit the buffer: safe from a kill, and after `flush` from a power cut."""
        if self._writer is None or not self.buffer["data"]:
            return
        before = self.idx
        rows = list(zip(self.buffer["data"], self.buffer["labels"], strict=True))
        try:
            self._writer.write(rows, buffer_size=max(self.buffer_size, len(rows)))
        except BaseException:
            self._writer.reload()
            raise
        finally:
            for column in self.buffer.values():
                del column[: self.idx - before]

    def _written_labels(self) -> npt.NDArray[Any]:
        if self._writer is None or self._closed:
            return np.zeros(0, np.int64)
        frames = self._writer.work.frames()
        parts = [f.arrays["label"] for f in frames if "label" in f.arrays]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _read_rows(self, rows: Iterable[int]) -> list[npt.NDArray[Any]]:
        if self._writer is None or self._closed:
            raise RowError(f"{self.output_path} is closed, or has no rows yet. Read it with h5py.")
        return self._writer.read(rows)

    def _let_go(self) -> None:
        self._closed = True
        if self._writer is not None:
            self._writer.close()


class HDF5DatasetWriter(HDF5Dataset):
    """`HDF5Dataset` under the name and the arguments of Rosebrock's book.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> writer = HDF5DatasetWriter((2, 4), folder.name + "/f.h5", dataKey="features", bufSize=10)
    >>> writer.storeClassLabels(["cat", "dog"])
    >>> writer.add(np.ones((2, 4), np.float32), [0, 1])
    >>> writer.close().samples
    2
    >>> folder.cleanup()
    """

    def __init__(
        self,
        dims: Sequence[int],
        outputPath: str | os.PathLike[str],
        dataKey: str = "images",
        bufSize: int = 1000,
        **options: Any,
    ) -> None:
        """As `HDF5Dataset`, whose further options are taken by name."""
        super().__init__(dims, outputPath, dataKey, bufSize, **options)

    def storeClassLabels(self, classLabels: Iterable[str]) -> None:
        """Keep the names of the classes, as `store_class_labels`."""
        self.store_class_labels(classLabels)
