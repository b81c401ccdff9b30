"""Features as scikit-learn takes them: the file's own bytes, or an error that says what to do."""

from __future__ import annotations

import operator

import h5py
import numpy as np
import pytest

import celeiro
from celeiro.errors import ChangedError, FormatError, OptionError
from celeiro.features.sklearn import as_sklearn

ROWS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
LABELS = np.arange(40) % 2


@pytest.fixture
def packed(tmp_path):
    """`packed(rows, store=...)`: a file of features."""

    def make(rows=ROWS, name="f.h5", **options):
        options = {"labels": LABELS, "key": "features"} | options
        return celeiro.pack(rows, tmp_path / name, **options).path

    return make


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
def test_x_is_a_read_only_map_of_the_files_own_bytes(packed, dtype):
    path = packed((ROWS * 10).astype(dtype))
    X, y = as_sklearn(path)
    assert isinstance(X, np.memmap)
    assert (X.dtype, X.shape, X.flags.writeable) == (dtype, (40, 6), False)
    assert X.tolist() == (ROWS * 10).astype(dtype).tolist()
    assert y.tolist() == LABELS.tolist()
    with path.open("r+b") as file:
        file.seek(X.offset + 6 * X.itemsize)
        file.write(np.full(6, 7, dtype).tobytes())
    assert (X[1] == 7).all()
    assert (X[0] == (ROWS[0] * 10).astype(dtype)).all()


def test_samples_with_axes_are_flattened_and_labels_may_be_missing(packed):
    X, y = as_sklearn(packed(ROWS.reshape(40, 1, 2, 3), labels=None))
    assert (X.tolist(), y) == (ROWS.tolist(), None)


def test_scikit_learn_learns_from_it(packed):
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = as_sklearn(packed(ROWS + 5 * LABELS[:, None].astype(np.float32)))
    assert linear_model.LogisticRegression().fit(X, y).score(X, y) == 1


def test_processes_of_scikit_learn_map_the_file_and_copy_nothing(packed, tmp_path, monkeypatch):
    joblib = pytest.importorskip("joblib")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path / "copies"))
    rows = (
        np.random.default_rng(0).normal(size=(600, 500)).astype(np.float32)
    )  # beyond joblib's 1 MB
    labels = np.arange(600) % 2
    X, y = as_sklearn(packed(rows + 5 * labels[:, None].astype(np.float32), labels=labels))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    with joblib.parallel_config(backend="loky", n_jobs=2):
        seen = [
            joblib.Parallel()(
                joblib.delayed(operator.attrgetter(name))(part) for part in (X, X[9:])
            )
            for name in ("filename", "offset", "mode", "shape")
        ]
        assert (cross_val_score(pipeline, X, y, cv=3) == 1).all()
    assert [str(name) for name in seen[0]] == [str(X.filename)] * 2
    assert seen[1:] == [[X.offset, X.offset + 9 * 2000], ["r", "r"], [(600, 500), (591, 500)]]
    copies = tmp_path / "copies"
    assert not copies.exists() or not [path for path in copies.rglob("*") if path.is_file()]


def test_a_run_of_neighbours_is_mapped_and_anything_else_is_not(packed):
    with celeiro.open(packed()) as ds:
        X, y = as_sklearn(ds.select(range(10, 25)))
        assert X.tolist() == ROWS[10:25].tolist()
        assert y.tolist() == LABELS[10:25].tolist()
        for rows in ([3, 5], [5, 4], [3, 3], range(0, 40, 2)):
            with pytest.raises(OptionError, match=r"not one run of neighbours.*X\[ds.rows\]"):
                as_sklearn(ds.select(rows))
        with pytest.raises(OptionError, match="no samples here"):
            as_sklearn(ds.select([]))


def test_a_split_is_mapped_where_it_is_one_run(packed):
    with pytest.raises(OptionError, match="not one run of neighbours"):
        as_sklearn(packed(split={"train": 0.5, "test": 0.5}), "train")
    X, y = as_sklearn(packed(name="g.h5", split={"all": 1.0}), "all")
    assert (X.shape, len(y)) == ((40, 6), 40)
    with pytest.raises(KeyError, match="no split 'val'"):
        as_sklearn(packed(name="h.h5", split={"train": 1.0}), "val")


def test_the_byte_order_of_the_file_is_kept(tmp_path):
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["features"] = ROWS.astype(">f4")
        file["labels"] = LABELS
    X, _ = as_sklearn(tmp_path / "b.h5")
    assert X.dtype == np.dtype(">f4")
    assert (X == ROWS).all()


@pytest.mark.parametrize("options", [{"chunks": (5, 6)}, {"chunks": (1, 6), "compression": "gzip"}])
def test_chunks_cannot_be_mapped_and_the_error_says_what_to_do(tmp_path, options):
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("features", data=ROWS, **options)
    with pytest.raises(OptionError, match=r"celeiro repack c.h5 OUT --store pixels.*ds\.read"):
        as_sklearn(tmp_path / "c.h5")


def test_lossless_and_picture_files_cannot_be_mapped(packed, tmp_path, photo_folder):
    with pytest.raises(OptionError, match="stored as 'lossless'.*--store pixels"):
        as_sklearn(packed(store="lossless"))
    pictures = celeiro.pack(photo_folder(4), tmp_path / "e.h5", store="encoded").path
    with pytest.raises(OptionError, match="stored as 'encoded'"):
        as_sklearn(pictures)


def test_a_type_that_numpy_does_not_have_cannot_be_mapped(tmp_path):
    bfloat16 = h5py.h5t.IEEE_F32LE.copy()
    bfloat16.set_fields(15, 7, 8, 0, 7)
    bfloat16.set_size(2)
    bfloat16.set_ebias(127)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        space = h5py.h5s.create_simple(ROWS.shape)
        data = h5py.h5d.create(file.id, b"features", bfloat16, space)
        h5py.Dataset(data)[...] = ROWS
    with pytest.raises(OptionError, match=r"bfloat16, read as float32.*--dtype float16.*ds\.read"):
        as_sklearn(tmp_path / "b.h5")


def test_bytes_that_the_file_does_not_have_are_found(packed):
    path = packed()
    X, _ = as_sklearn(path)
    end = X.offset + X.nbytes
    del X
    with celeiro.open(path) as ds:
        with path.open("r+b") as file:
            file.truncate(end - 100)
        with pytest.raises((FormatError, ChangedError)):
            as_sklearn(ds)
    with pytest.raises(FormatError):
        as_sklearn(path)


def test_a_file_that_was_replaced_since_it_was_opened_is_refused(packed, tmp_path):
    path = packed()
    with celeiro.open(path) as ds:
        packed(ROWS + 1, "other.h5").replace(path)
        with pytest.raises(ChangedError, match="Open it again"):
            as_sklearn(ds)
