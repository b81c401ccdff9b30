"""`celeiro.probe`: how well a linear classifier tells classes apart by their features.

    features ─> standardised ─> logistic regression, C by a grid ─> tested on what it never saw

The invariant: what is tested on takes no part in learning or choosing, and memory stays below the
caller's figure: features that exceed it are learned from block by block.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import ExistsError, MissingExtraError, OptionError
from celeiro.features.probing import exact, keeping, parts, streamed
from celeiro.features.probing.result import RANK, Probe, class_reports
from celeiro.features.vectors import Vectors
from celeiro.packing.outcome import Progress
from celeiro.reading.dataset import Dataset
from celeiro.reading.dataset import open as open_dataset
from celeiro.storage.local import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from celeiro.features.probing.learned import Learned
    from celeiro.features.probing.parts import Parts

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of C that are tried where the caller names none."""

MEMORY = 1_000_000_000
"""Bytes that a probe takes at most where the caller does not say."""

# scikit-learn and what it needs, before the first sample is read.
_BASE = 200_000_000
_LEAST_MEMORY = 1_000_000
_WORTH_THREADS = 32_000_000


def probe(
    source: str | os.PathLike[str] | Dataset,
    *,
    key: str | None = None,
    labels: str | npt.ArrayLike | None = None,
    train: str | None = None,
    test: str | None = None,
    C: Sequence[float] = GRID,
    memory: int = MEMORY,
    seed: int = 0,
    save: str | os.PathLike[str] | None = None,
    plot: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Probe:
    """Learn a linear classifier from features, and tell how well it does on others.

    Parameters
    ----------
    source
        A file of features, or a dataset whose samples are (D,) or (h, w, c) floats; computed in
        float32.
    key, labels
        Of a path: as for `celeiro.open`.
    train, test
        Names of splits; by default train, and test or else val. Of a file without splits a quarter
        of each class, drawn by `seed`, is tested on.
    C
        Strengths of regularisation to choose among, by the split val where it is neither learned
        from nor tested on, and otherwise by folds of the training samples. One is taken as it is.
    memory
        Bytes that the process may take, about. Features that would exceed it are gone through block
        by block, some dozens of times.
    save
        A file to write the classifier to, in skops' format: `skops.io.load` reads it.
    plot
        A PNG of the confusion matrix to write.
    overwrite
        Replace `save` and `plot` where they exist.
    workers
        Of a path: threads that read.
    on_progress
        Called now and then with a `Progress`: samples gone through, each time counted.

    Returns
    -------
    Probe
        Accuracy, a report a class, the confusion matrix, the classifier.

    Raises
    ------
    OptionError
        The samples are no features, or their labels no classes that can be learned and tested.
    SampleError
        A value is not finite; its sample is named.
    ExistsError
        `save` or `plot` is there already.
    MissingExtraError
        scikit-learn is not installed, or what `save` or `plot` need.

    Examples
    --------
    >>> import numpy as np, tempfile, celeiro
    >>> rng, folder = np.random.default_rng(0), tempfile.TemporaryDirectory()
    >>> y = np.arange(200) % 2
    >>> x = rng.normal(y[:, None], 0.1, (200, 8)).astype(np.float32)
    >>> _ = celeiro.pack(x, folder.name + "/f.h5", key="features", labels=y)
    >>> probe(folder.name + "/f.h5").rank1
    1.0
    >>> folder.cleanup()
    """
    grid = _checked_grid(C)
    if memory < _LEAST_MEMORY:
        raise OptionError(f"memory {memory!r}: wanted bytes, at least {_LEAST_MEMORY:,}.")
    targets = _targets(save, plot, overwrite=overwrite)
    began = time.perf_counter()
    if isinstance(source, Dataset):
        if key is not None or labels is not None or workers is not None:
            raise OptionError(
                "key, labels and workers go with a path; this is a dataset: open it with them."
            )
        found = _probe(source, grid, train, test, memory, seed, began, on_progress)
    else:
        with open_dataset(source, key, labels=labels, workers=workers) as ds:
            found = _probe(ds, grid, train, test, memory, seed, began, on_progress)
    _write(found, targets, overwrite=overwrite)
    return found


def _probe(
    ds: Dataset, grid: tuple[float, ...], train: str | None, test: str | None, memory: int,
    seed: int, began: float, on_progress: Callable[[Progress], None] | None,
) -> Probe:  # fmt: skip
    vectors = Vectors(ds)
    drawn = parts.parts_of(ds, train=train, test=test, seed=seed)
    if len(grid) > 1 and drawn.val is None:
        parts.check_enough(ds, drawn.train, drawn.names, exact.FOLDS, "choosing C")
    told = _Told(on_progress)
    count = len(drawn.train.rows)
    room = max(memory - _BASE, memory // 4)
    with _threads(4 * count * vectors.dim):
        judged = 0 if drawn.val is None else len(drawn.val.rows)
        if exact.needs(count, vectors.dim, len(drawn.classes), judged) <= room:
            told.expect(count + exact.work(drawn, grid) + len(drawn.test.rows))
            learned = exact.learn(vectors, drawn, grid=grid, seed=seed, told=told)
        else:
            learned = streamed.learn(vectors, drawn, grid=grid, memory=room, seed=seed, told=told)
        codes, ranks = _tested(vectors, drawn, learned, room, told)
    count = len(drawn.classes)
    confusion = np.bincount(drawn.test.codes * count + codes, minlength=count * count)
    confusion = confusion.reshape(count, count).astype(np.int64)
    return Probe(
        path=ds.path,
        key=ds.key,
        dim=vectors.dim,
        trained_on=drawn.train.name,
        tested_on=drawn.test.name,
        train_samples=len(drawn.train.rows),
        test_samples=len(drawn.test.rows),
        C=learned.C,
        chosen_on=learned.chosen_on,
        scores=learned.scores,
        passes=learned.passes,
        rank1=float((codes == drawn.test.codes).mean()),
        rank5=float((ranks < RANK).mean()),
        classes=class_reports(confusion, drawn.names),
        confusion=confusion,
        tested=drawn.test.rows,
        predicted=drawn.classes[codes],
        model=learned.model,
        seconds=time.perf_counter() - began,
        notes=(*drawn.notes, *learned.notes),
    )


def _tested(
    vectors: Vectors, drawn: Parts, learned: Learned, memory: int, told: Callable[[int, int], None]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """What each tested sample was taken for, and the rank of what it is, from 0."""
    rows, true = drawn.test.rows, drawn.test.codes
    codes, ranks = np.empty_like(true), np.empty_like(true)
    classes = len(drawn.classes)
    per = int(np.clip(memory // 8 // (12 * vectors.dim + 16 * classes), 1, 8192))
    for at, block in vectors.blocks(rows, per):
        scores = learned.model.decision_function(vectors.checked(block, rows[at:]))
        end = at + len(block)
        if scores.ndim == 1:  # of two classes
            codes[at:end] = scores > 0
            ranks[at:end] = codes[at:end] != true[at:end]
        else:
            codes[at:end] = scores.argmax(1)
            own = scores[np.arange(len(scores)), true[at:end]]
            ranks[at:end] = (scores > own[:, None]).sum(1)
        told(len(block), block.nbytes)
    return codes, ranks


def _threads(size: int) -> AbstractContextManager[Any]:
    """As many threads as `size` bytes of features are worth.

    Those of OpenBLAS and OpenMP spin while they wait for each other: on a busy machine a fit of a
    megabyte took 1.2 s with two, and 0.02 s with one.
    """
    from threadpoolctl import threadpool_limits

    found: AbstractContextManager[Any] = threadpool_limits(1 if size < _WORTH_THREADS else None)
    return found


class _Told:
    """Counts samples and bytes, and says so."""

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self._progress = Progress()
        self._on_progress = on_progress

    def expect(self, total: int) -> None:
        """Say how many samples will be gone through in all."""
        self._progress.total = total

    def __call__(self, count: int, size: int) -> None:
        self._progress.done += count
        self._progress.bytes_done += size
        if self._on_progress is not None:
            self._on_progress(self._progress)


# Options and files


def _checked_grid(C: Sequence[float]) -> tuple[float, ...]:
    grid = tuple(sorted({float(value) for value in C}))
    if not grid or not all(np.isfinite(value) and value > 0 for value in grid):
        raise OptionError(f"C {list(C)!r}: wanted one or more numbers above 0, such as [0.1, 1].")
    return grid


_Targets = dict[str, Path]


def _targets(
    save: str | os.PathLike[str] | None, plot: str | os.PathLike[str] | None, *, overwrite: bool
) -> _Targets:
    """The files to write, by what they hold; what would fail in the end fails here."""
    _need_sklearn()
    found: _Targets = {}
    for name, given in (("save", save), ("plot", plot)):
        if given is not None:
            found[name] = path = Path(os.path.abspath(os.fsdecode(given)))
            if not path.parent.is_dir():
                raise OptionError(f"{name} {path}: no folder {path.parent}. Make it first.")
            if name == "plot" and path.suffix.lower() not in ("", ".png"):
                raise OptionError(f"plot {path}: wanted a name with .png, which is what is drawn.")
            if path.is_dir() or (path.exists() and not overwrite):
                raise ExistsError(f"{path} is there already. Choose another name, or overwrite.")
    if len(set(found.values())) < len(found):
        raise OptionError(f"save and plot are both {found['save']}; wanted two names.")
    if "save" in found:
        keeping.library()
    if "plot" in found:
        _need_matplotlib()
    return found


def _need_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"a probe needs scikit-learn, which is not installed ({error}). "
            "Type: pip install 'celeiro[features]'"
        ) from error


def _need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"the picture of a probe needs matplotlib, which is not installed ({error}). "
            "Type: pip install 'celeiro[features]'"
        ) from error


def _write(found: Probe, targets: _Targets, *, overwrite: bool) -> None:
    """Each file whole, or not at all."""
    from celeiro.features.probing import picture

    write: dict[str, Callable[[Path], Any]] = {
        "save": lambda path: keeping.dump(found.model, path),
        "plot": lambda path: picture.draw(found, path),
    }
    for name, path in targets.items():
        with whole(path, overwrite=overwrite) as made:
            write[name](made)
