"""What is like what: against plain NumPy, and on what was planted."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import celeiro
from celeiro.errors import ExistsError, OptionError, SampleError
from celeiro.features.likeness import nearest as nearest_module
from celeiro.features.likeness.directions import Directions, unit
from celeiro.features.likeness.picture import features_of
from celeiro.features.likeness.sheet import draw_sheet
from celeiro.features.similar import duplicates, neighbours, suspects
from celeiro.format.names import Names

MEMORY = 16_000_000


def clusters(n=200, d=16, classes=4, seed=0):
    """Samples around a few centres, far from each other, and their classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    centres = 4 * np.eye(classes, d)
    return (centres[labels] + rng.normal(0, 0.4, (n, d))).astype(np.float32), labels


def directions(rows):
    rows = rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths, lengths, 1)


@pytest.fixture
def packed(tmp_path):
    """A file of features, and a dataset of it that is closed afterwards."""
    opened = []

    def make(rows, labels=None, name="f.h5", **options):
        path = tmp_path / name
        celeiro.pack(rows, path, labels=labels, **options)
        opened.append(celeiro.open(path))
        return opened[-1]

    yield make
    for ds in opened:
        ds.close()


def written(path, rows, **beside):
    """A file of features as another program writes them."""
    import h5py

    with h5py.File(path, "w") as file:
        file["features"] = rows
        for name, values in beside.items():
            file[name] = values
    return path


def numbers(group):
    return [each.sample.number for each in group.members]


# Neighbours


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_neighbours_are_those_of_plain_numpy(tmp_path_factory, n, d, k, seed):
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    path = written(tmp_path_factory.mktemp("x") / "f.h5", rows)
    asked = seed % n
    found = neighbours(path, asked, k).found
    cosines = directions(rows) @ directions(rows)[asked]
    cosines[asked] = -np.inf
    best = np.argsort(-cosines)[: min(k, n - 1)]
    np.testing.assert_allclose([e.similarity for e in found], cosines[best], atol=1e-5)
    assert asked not in [e.sample.number for e in found]


def test_a_sample_is_named_by_its_number_or_its_key(tmp_path, photo_folder):
    # Four pixels of a photograph are features enough.
    celeiro.pack(photo_folder(5), tmp_path / "p.h5", size=2, store="pixels")
    with celeiro.open(tmp_path / "p.h5") as pictures:
        keys, values = list(pictures.keys), pictures.read(range(5)).astype(np.float32)
    path = ours(tmp_path / "f.h5", values.reshape(5, -1), keys=keys)
    by_key = neighbours(path, keys[3], 2)
    assert by_key.of.number == 3
    assert by_key.found == neighbours(path, 3, 2).found == neighbours(path, -2, 2).found
    with pytest.raises(OptionError, match="no sample has the key 'owl.jpg'"):
        neighbours(path, "owl.jpg")
    with pytest.raises(OptionError, match="no sample 5; wanted a number from 0 to 4"):
        neighbours(path, 5)


def test_a_vector_finds_its_like(packed):
    rows, _ = clusters()
    ds = packed(rows)
    found = neighbours(ds, 7.5 * rows[17], 3)
    assert found.of is None
    assert found.found[0].sample.number == 17
    assert found.found[0].similarity == pytest.approx(1)
    for wrong in (rows[0, :5], np.full(16, np.nan)):
        with pytest.raises(OptionError, match="wanted 16 finite ones"):
            neighbours(ds, wrong)


def test_zeros_are_like_nothing(packed):
    rows, labels = clusters(20)
    rows[[4, 9]] = 0
    ds = packed(rows, labels)
    assert {4, 9}.isdisjoint(e.sample.number for e in neighbours(ds, 0, 100).found)
    with pytest.raises(OptionError, match="sample 4 is all zeros"):
        neighbours(ds, 4)
    found = duplicates(ds)
    assert found.groups == duplicates(ds, None).groups == ()
    assert "2 of 20 samples are all zeros, the first is sample 4" in found.notes[0]
    assert {4, 9}.isdisjoint(each.sample.number for each in suspects(ds, 3).found)


@pytest.mark.parametrize("ask", [duplicates, suspects, lambda ds: neighbours(ds, 0)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_named(packed, ask, bad):
    rows, labels = clusters(30)
    ds = packed(rows, labels)
    rows[21, 3] = bad
    with celeiro.open(written(ds.path.with_name("n.h5"), rows, labels=labels)) as broken:
        with pytest.raises(SampleError, match="sample 21: value 3") as caught:
            ask(broken)
        assert caught.value.sample == 21


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_is_computed_in_float32(tmp_path, dtype):
    rows, _ = clusters()
    rows[30] = rows[3]
    found = duplicates(written(tmp_path / "f.h5", rows.astype(dtype)), 0.9999)
    assert [numbers(group) for group in found.groups] == [[3, 30]]


def test_very_long_and_very_short_rows_have_a_direction():
    rows = np.array([[3e38, 3e38], [1e-44, 1e-44], [1, 1]], np.float32)
    np.testing.assert_allclose(unit(rows), 0.5**0.5, rtol=1e-3)


def test_axes_are_flattened_and_pictures_refused(tmp_path):
    rows, _ = clusters(12)
    cubes = written(tmp_path / "c.h5", rows.reshape(12, 2, 2, 4))
    flat = written(tmp_path / "f.h5", rows)
    assert neighbours(cubes, 0).found == neighbours(flat, 0).found
    with pytest.raises(OptionError, match="wanted features: floats"):
        neighbours(written(tmp_path / "p.h5", np.zeros((3, 4, 4, 3), np.uint8)), 0)


# Duplicates


def test_planted_copies_near_copies_and_leaks_are_found(tmp_path):
    rows, labels = clusters(200, 64)
    rows = rows + np.random.default_rng(1).normal(0, 3, rows.shape).astype(np.float32)
    rows[50] = rows[10]
    rows[[60, 190]] = rows[20]  # 190 is in the split test
    rows[70] = 2 * rows[30] + 0.01  # near, and longer
    rows[199] = rows[40] + 0.01
    labels[[10, 50]] = 0
    labels[[30, 70]] = 0, 1
    labels[[20, 60, 190]] = labels[[40, 199]] = 2
    splits = {"train": np.arange(150), "test": np.arange(150, 200)}
    path = ours(tmp_path / "f.h5", rows, labels=labels, splits=splits)
    found = duplicates(path, 0.99)
    told = [(numbers(g), g.exact, g.is_leak, g.labels_differ) for g in found.groups]
    assert told == [
        ([20, 60, 190], True, True, False),
        ([40, 199], False, True, False),
        ([30, 70], False, False, True),
        ([10, 50], True, False, False),
    ]
    assert found.groups[0].splits == ("train", "test")
    assert (found.leaks, found.surplus, found.exact_search) == (2, 5, True)
    assert duplicates(path, 0.99, between_splits=True).groups == found.groups[:2]
    assert [numbers(g) for g in duplicates(path, None).groups] == [[20, 60, 190], [10, 50]]
    assert json.loads(json.dumps(found.to_json()))["leaks"] == 2


@given(st.integers(2, 60), st.floats(0.3, 0.999), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_groups_are_the_components_of_all_pairs(tmp_path_factory, n, threshold, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 3)).astype(np.float32)
    rows[n // 2 :: 3] = rows[0]
    path = written(tmp_path_factory.mktemp("x") / "f.h5", rows)
    cosines = directions(rows) @ directions(rows).T
    near = cosines >= threshold
    if (np.abs(cosines - threshold) < 1e-5).any():
        return  # float32 may see it otherwise
    group = np.arange(n)
    for _ in range(n):
        group = np.where(near, group[None], n).min(axis=1)
    wanted = {tuple(np.flatnonzero(group == g)) for g in group if (group == g).sum() > 1}
    found = duplicates(path, threshold)
    assert {tuple(numbers(g)) for g in found.groups} == wanted
    np.fill_diagonal(cosines, -1)
    for each in (each for g in found.groups for each in g.members):
        assert each.similarity == pytest.approx(cosines[each.sample.number].max(), abs=1e-5)


def test_blocks_and_tiles_change_nothing(tmp_path, monkeypatch):
    rows, labels = clusters(500, 300)
    rows[400] = rows[3]
    path = written(tmp_path / "f.h5", rows, labels=labels)
    whole, judged = duplicates(path, 0.9), suspects(path, 5)
    few = "celeiro.features.likeness.{}.rows_in"
    for module in ("pairs", "nearest"):
        monkeypatch.setattr(few.format(module), lambda memory, dim: 64)
    monkeypatch.setattr("celeiro.features.likeness.pairs._MOST_TILE", 37)
    found = duplicates(path, 0.9)
    assert [numbers(g) for g in found.groups] == [numbers(g) for g in whole.groups]
    again = suspects(path, 5)
    assert [e.sample for e in again.found] == [e.sample for e in judged.found]


@pytest.mark.parametrize("exact", [True, False])
def test_whether_rows_stay_in_memory_changes_nothing(tmp_path, monkeypatch, exact):
    rows, labels = clusters(400, 50)
    path = written(tmp_path / "f.h5", rows, labels=labels)
    held, judged = duplicates(path, 0.9, exact=exact), suspects(path, 5, exact=exact)
    monkeypatch.setattr("celeiro.features.likeness.directions._HELD", 1 << 40)
    assert duplicates(path, 0.9, exact=exact).groups == held.groups
    assert suspects(path, 5, exact=exact).found == judged.found


def test_rows_that_fit_are_read_from_the_file_once(tmp_path, monkeypatch):
    rows, labels = clusters(400, 50)
    path = written(tmp_path / "f.h5", rows, labels=labels)

    def read(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("celeiro.features.vectors.Vectors.read", read)
    assert suspects(path, 5, exact=False).samples == 400


def test_all_alike_is_one_group_and_takes_no_memory_of_pairs(tmp_path):
    rows = 1 + np.random.default_rng(0).normal(0, 0.01, (3000, 8)).astype(np.float32)
    path = written(tmp_path / "f.h5", rows)
    tracemalloc.start()
    found = duplicates(path, 0.9, memory=MEMORY)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [len(g.members) for g in found.groups] == [3000]
    assert most < 2 * MEMORY  # all pairs would be 36 MB of similarities alone, 216 MB of numbers


def test_memory_is_that_of_blocks(tmp_path):
    rows = np.random.default_rng(0).normal(size=(4000, 4096)).astype(np.float32)
    path = written(tmp_path / "f.h5", rows, labels=np.arange(4000) % 2)
    for ask in (duplicates, suspects):
        tracemalloc.start()
        ask(path, exact=True, memory=MEMORY)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 2 * MEMORY  # the rows are 66 MB


def test_in_cells_what_is_near_is_found_too(tmp_path):
    rows, labels = clusters(3000, 24, classes=10)
    labels[500:530] = (labels[500:530] + 1) % 10
    labels[1000:1020] = labels[:20]
    rows[1000:1020] = rows[:20] + 0.001
    path = written(tmp_path / "f.h5", rows, labels=labels)
    found = duplicates(path, 0.999, exact=False)
    assert [numbers(g) for g in found.groups] == [
        numbers(g) for g in duplicates(path, 0.999, exact=True).groups
    ]
    assert len(found.groups) >= 20
    assert not found.exact_search
    exact, cells = suspects(path, 10, exact=True), suspects(path, 10, exact=False)
    of = {each.sample.number: set(each.neighbours) for each in exact.found}
    both = [each for each in cells.found if each.sample.number in of]
    assert len(both) == len(exact.found) == 30
    recall = np.mean([len(of[e.sample.number] & set(e.neighbours)) / 10 for e in both])
    assert recall > 0.8


def test_what_is_too_large_is_searched_in_cells_unasked(tmp_path, monkeypatch):
    path = written(tmp_path / "f.h5", clusters()[0])
    monkeypatch.setattr(nearest_module, "_MOST_EXACT", 1000)
    assert not duplicates(path).exact_search
    assert duplicates(path, exact=True).exact_search


def test_a_million_results_are_arrays_until_they_are_asked_for(tmp_path):
    count = 40_000
    rows = np.random.default_rng(0).normal(size=(count // 2, 4)).astype(np.float32)
    path = written(tmp_path / "f.h5", np.concatenate([rows, rows]), labels=np.arange(count) % 7)
    tracemalloc.start()
    found = duplicates(path, None, memory=MEMORY)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(found.groups), found.exact, found.surplus) == (20_000, 20_000, 20_000)
    assert numbers(found.groups[-1]) == [19_999, 39_999]
    assert kept < 80 * count  # an object and its members would be some 700 bytes
    assert most < 250 * count
    tracemalloc.start()
    asked = suspects(path, 7, memory=MEMORY, exact=True)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(asked.found) > count / 2
    assert kept < 120 * count


def test_results_are_sequences_like_tuples(tmp_path):
    rows, labels = clusters(60)
    rows[30:50] = rows[:20]
    path = written(tmp_path / "f.h5", rows, labels=labels)
    found = duplicates(path, None)
    each = tuple(found.groups)
    assert len(found.groups) == len(each) == 20
    assert found.groups == each == duplicates(path, None).groups
    assert hash(found.groups) == hash(each)
    assert found.groups[-1] == each[-1]
    assert found.groups[3:9:2] == each[3:9:2] != each[3:9]
    assert list(reversed(found.groups[:2])) == [each[1], each[0]]
    assert found.groups != list(each)
    with pytest.raises(IndexError):
        found.groups[20]
    with pytest.raises(TypeError):
        found.groups[0] = each[1]
    assert repr(found.groups).startswith("Items(20: Group(members=Items(2: Similar(")
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    judged = suspects(path, 3)
    assert pickle.loads(pickle.dumps(judged)) == judged


@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_groups_tell_what_their_members_do(tmp_path_factory, n, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(4, 3)).astype(np.float32)[rng.integers(0, 4, n)]
    rows *= rng.choice([1, 2], (n, 1)).astype(np.float32)
    where = rng.integers(0, 3, n)  # in no split, too
    splits = {"test": np.flatnonzero(where == 0), "train": np.flatnonzero(where == 1)}
    labels = rng.integers(0, 2, n)
    path = ours(tmp_path_factory.mktemp("x") / "f.h5", rows, labels=labels, splits=splits)
    found = duplicates(path, 0.99)
    for group in found.groups:
        samples = [each.sample for each in group.members]
        told = list(dict.fromkeys(each.split for each in samples if each.split is not None))
        assert group.splits == tuple(told)
        assert group.is_leak == (len(told) > 1)
        assert group.labels_differ == (len({each.label for each in samples}) > 1)
        assert group.similarity == min(each.similarity for each in group.members)
        assert group.exact == (len({rows[each.number].tobytes() for each in samples}) == 1)
    order = [(not g.is_leak, not g.labels_differ, -g.similarity) for g in found.groups]
    assert order == sorted(order)
    assert found.leaks == sum(g.is_leak for g in found.groups)
    assert found.exact == sum(g.exact for g in found.groups)
    assert found.surplus == sum(len(g.members) - 1 for g in found.groups)
    between = duplicates(path, 0.99, between_splits=True)
    assert between.groups == found.groups[: found.leaks]


# Suspects


def test_swapped_labels_are_found_first(tmp_path):
    rows, true = clusters(400)
    labels = true.copy()
    swapped = np.random.default_rng(2).choice(400, 20, replace=False)
    labels[swapped] = (labels[swapped] + 1) % 4
    path = ours(tmp_path / "f.h5", rows, labels=labels, label_names=list("abcd"))
    found = suspects(path)
    assert {each.sample.number for each in found.found} == set(swapped.tolist())
    for each in found.found:
        assert each.said == true[each.sample.number]
        assert each.said_name == "abcd"[each.said]
        assert each.score > 0.5
    scores = [each.score for each in found.found]
    assert scores == sorted(scores, reverse=True)


def test_suspects_are_those_of_plain_numpy(tmp_path):
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(80, 4)).astype(np.float32), rng.integers(0, 3, 80)
    found = suspects(written(tmp_path / "f.h5", rows, labels=labels), 7)
    cosines = directions(rows) @ directions(rows).T
    np.fill_diagonal(cosines, -np.inf)
    wanted = {}
    for row in range(80):
        near = np.argsort(-cosines[row])[:7]
        weights = np.maximum(cosines[row, near], 1e-6)
        votes = np.bincount(labels[near], weights, 3) / weights.sum()
        if votes.max() > votes[labels[row]]:
            wanted[row] = votes.max() - votes[labels[row]]
    assert {e.sample.number: pytest.approx(e.score, abs=1e-4) for e in found.found} == wanted


def test_copies_beyond_k_leave_no_sample_its_own_neighbour(tmp_path):
    rows = np.ones((50, 4), np.float32)
    found = suspects(written(tmp_path / "f.h5", rows, labels=np.r_[1, [0] * 49]), 5)
    assert [each.sample.number for each in found.found] == [0]
    assert 0 not in found.found[0].neighbours


def test_few_samples_are_no_trouble(tmp_path):
    rows, labels = clusters(2)
    path = written(tmp_path / "f.h5", rows, labels=labels)
    assert suspects(path, 100).k == 1
    assert len(neighbours(path, 0, 100).found) == 1
    alone = ours(tmp_path / "one.h5", rows[:1], labels=labels[:1])
    assert suspects(alone).found == duplicates(alone).groups == neighbours(alone, 0).found == ()


def test_small_classes_are_told(tmp_path):
    rows, labels = clusters(100, classes=2)
    labels[:3] = 2
    found = suspects(ours(tmp_path / "f.h5", rows, labels=labels, label_names=["a", "b", "owl"]))
    assert "too few samples for 15 neighbours: owl 3" in found.notes[0]


def test_labels_that_are_no_classes_are_refused(tmp_path):
    rows, _ = clusters(10)
    for name, labels, why in (
        ("n", None, "no labels"),
        ("f", np.linspace(0, 1, 10), "float64"),
        ("m", np.zeros((10, 3), int), "(10, 3)"),
    ):
        path = ours(tmp_path / f"{name}.h5", rows, labels=labels)
        with pytest.raises(OptionError) as error:
            suspects(path)
        assert why in str(error.value)


@pytest.mark.parametrize(
    ("ask", "options"),
    [
        (neighbours, {"which": 0, "k": 0}), (suspects, {"k": 0}), (duplicates, {"threshold": 0}),
        (duplicates, {"threshold": 1.1}), (duplicates, {"memory": 10}),
        (neighbours, {"which": 0, "layer": "conv"}),
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(tmp_path, ask, options):
    rows, labels = clusters(10)
    with pytest.raises(OptionError):
        ask(ours(tmp_path / "f.h5", rows, labels=labels), **options)


def test_a_field_is_searched_as_a_layer(tmp_path):
    rows, labels = clusters(30)
    path = ours(tmp_path / "f.h5", np.ones_like(rows), labels=labels, fields={"conv": rows})
    plain = written(tmp_path / "p.h5", rows)
    layer = [(e.sample.number, e.similarity) for e in neighbours(path, 4, layer="conv").found]
    assert layer == [(e.sample.number, e.similarity) for e in neighbours(plain, 4).found]


def test_views_are_searched_alone(tmp_path):
    rows, labels = clusters(30)
    rows[[9, 20]] = rows[2]
    with celeiro.open(ours(tmp_path / "f.h5", rows, labels=labels)) as ds:
        view = ds.select([20, 5, 2, 7])
        assert [numbers(g) for g in duplicates(view, None).groups] == [[20, 2]]
        assert {e.sample.number for e in neighbours(view, 0).found} == {2, 5, 7}


def test_a_sample_in_two_splits_is_told(tmp_path):
    rows, labels = clusters(10)
    splits = {"train": np.arange(6), "test": np.arange(5, 10)}
    found = duplicates(ours(tmp_path / "f.h5", rows, labels=labels, splits=splits), None)
    assert "1 times a sample is in a further split" in found.notes[0]


# Of a file of ours


def ours(
    path, rows, *, labels=None, label_names=(), keys=None, splits=None, fields=None, told=None
):
    """A file of features as `celeiro features` writes them, but from arrays."""
    import h5py

    from celeiro.format.checksum import crc32c

    celeiro.pack(
        rows, path, key="features", store="pixels",
        labels=None if labels is None else [np.asarray(x).tolist() for x in labels],
        label_names=label_names or None,
    )  # fmt: skip
    names = None if keys is None else Names.of(k.encode("utf-8", "surrogateescape") for k in keys)
    columns = {} if names is None else {"keys": names.fixed()}
    columns |= {f"splits/{n}": np.asarray(r, np.uint64) for n, r in (splits or {}).items()}
    columns |= {f"fields/{n}": values for n, values in (fields or {}).items()}
    with h5py.File(path, "r+") as file:
        for name, values in columns.items():
            data = file.create_dataset(name, data=values)
            data.attrs["crc32c"] = np.uint32(crc32c(np.ascontiguousarray(values).view(np.uint8)))
        if told is not None:
            file.attrs["celeiro_provenance"] = np.bytes_(json.dumps(told))
    return path


# Sheets


@pytest.fixture
def drawable(tmp_path, photo_folder):
    """Photographs, packed ones, and features of them, made of their mean colours."""
    folder = photo_folder(8)
    pictures = tmp_path / "photos.h5"
    celeiro.pack(folder, pictures)
    with celeiro.open(pictures) as ds:
        keys = list(ds.keys)
        rows = np.array([ds[at][0].mean(axis=(0, 1)) for at in range(8)], np.float32)
        labels = list(ds.labels)
    told = {"source": {"name": "photos.h5"}}
    return ours(tmp_path / "f.h5", rows, labels=labels, keys=keys, told=told), folder, keys


def tile_at(sheet, column, row=0):
    """The inside of one thumbnail."""
    top, left = 6 + row * (150 + 34 + 6) + 3, 6 + column * (150 + 6) + 3
    return sheet[top : top + 144, left : left + 144]


def test_a_sheet_shows_the_pictures_asked_for(drawable, tmp_path):
    path, folder, keys = drawable
    with celeiro.open(path) as ds:
        result = neighbours(ds, 2, 3)
        draw_sheet([result], tmp_path / "a.png", features=ds)
        draw_sheet([result], tmp_path / "b.png", features=ds, images=folder)
    sheet = cv2.imread(str(tmp_path / "a.png"))
    assert (sheet == cv2.imread(str(tmp_path / "b.png"))).all()
    for column, sample in enumerate([result.of, *(e.sample for e in result.found)]):
        photo = cv2.imread(str(folder / keys[sample.number]))  # 40x48
        shown = tile_at(sheet, column)[12:132]
        assert np.abs(shown.mean(axis=(0, 1)) - photo.mean(axis=(0, 1))).max() < 2


def test_a_sheet_of_everything_is_drawn(drawable, tmp_path):
    path, _, _ = drawable
    with celeiro.open(path) as ds:
        results = [duplicates(ds, 0.9), suspects(ds, 3)]
        draw_sheet(results, tmp_path / "a.jpg", features=ds)
    assert cv2.imread(str(tmp_path / "a.jpg")).shape[1] > 300


def test_a_sheet_replaces_nothing_unasked(drawable, tmp_path):
    (tmp_path / "a.png").write_bytes(b"mine")
    with celeiro.open(drawable[0]) as ds:
        result = [neighbours(ds, 0)]
        with pytest.raises(ExistsError):
            draw_sheet(result, tmp_path / "a.png", features=ds)
        assert (tmp_path / "a.png").read_bytes() == b"mine"
        draw_sheet(result, tmp_path / "a.png", features=ds, overwrite=True)
        with pytest.raises(OptionError, match="wanted a name with .png"):
            draw_sheet(result, tmp_path / "a.txt", features=ds)
    assert cv2.imread(str(tmp_path / "a.png")) is not None
    assert not list(tmp_path.glob(".*.part"))


def test_a_key_that_leads_out_of_the_folder_is_not_followed(tmp_path, photo_folder):
    folder = photo_folder(3)
    secret = tmp_path / "secret.jpg"
    secret.write_bytes((folder / "cat.0.jpg").read_bytes())
    keys = ["../secret.jpg", str(secret), "dog.1.jpg"]
    path = ours(tmp_path / "f.h5", clusters(3)[0], keys=keys)
    with celeiro.open(path) as ds:
        draw_sheet([neighbours(ds, 0)], tmp_path / "a.png", features=ds, images=folder)
    sheet = cv2.imread(str(tmp_path / "a.png"))
    empty = [bool((tile_at(sheet, column) == 224).all()) for column in range(3)]
    assert empty.count(True) == 2
    assert empty[0]


def test_samples_of_one_key_are_all_drawn(tmp_path, photo_folder):
    pictures = tmp_path / "photos.h5"
    celeiro.pack(photo_folder(3), pictures)
    with celeiro.open(pictures) as ds:
        key = ds.keys[1]
    told = {"source": {"name": "photos.h5"}}
    path = ours(tmp_path / "f.h5", clusters(3)[0], keys=[key] * 3, told=told)
    with celeiro.open(path) as ds:
        draw_sheet([neighbours(ds, 0)], tmp_path / "a.png", features=ds)
    sheet = cv2.imread(str(tmp_path / "a.png"))
    assert not any((tile_at(sheet, column) == 224).all() for column in range(3))


def test_pictures_that_are_not_there_are_asked_for(tmp_path):
    for told in ({}, {"source": {"name": "../../etc"}}, {"source": {"name": "gone.h5"}}):
        path = ours(tmp_path / f"{len(str(told))}.h5", clusters(3)[0], told=told)
        with celeiro.open(path) as ds, pytest.raises(OptionError, match="--images"):
            draw_sheet([neighbours(ds, 0)], tmp_path / "a.png", features=ds)


# A new picture


class Fake:
    """A model that answers with the mean of each channel."""

    name, device, layers, transforms = "timm:tiny", "cpu", ("features",), ()

    def __init__(self, **told):
        self.told = {"model": "timm:tiny", "preprocessing": {"size": [8, 8]}, **told}
        self.closed = 0

    def __call__(self, images):
        return {"features": np.asarray(images, np.float32).mean(axis=(1, 2))}

    def close(self):
        self.closed += 1


def test_a_new_picture_is_looked_at_by_the_model_of_the_file(tmp_path, photo_folder):
    folder = photo_folder(4, kind="png")
    means = [cv2.imread(str(p))[..., ::-1].mean(axis=(0, 1)) for p in sorted(folder.iterdir())]
    told = {"features": {**Fake().told, "threads": 9}}
    path = ours(tmp_path / "f.h5", np.array(means, np.float32), told=told)
    model, asked = Fake(threads=1), []

    def open_model(name, **wishes):
        asked.append((name, wishes))
        return model

    with celeiro.open(path) as ds:
        vector = features_of(sorted(folder.iterdir())[2], ds, open_model=open_model)
        np.testing.assert_allclose(vector, means[2], atol=1e-3)
        assert neighbours(ds, vector, 1).found[0].sample.number == 2
        model.told["state_sha256"] = "other"
        with pytest.raises(OptionError, match="made with state_sha256 None"):
            features_of(sorted(folder.iterdir())[2], ds, open_model=open_model)
    assert asked[0][0] == "timm:tiny"
    assert model.closed == 2


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({}, "does not say by which model"),
        ({"model": "callable os.system"}, "A function cannot be found again"),
        ({"model": "onnx:/tmp/x.onnx"}, "only when you name it"),
        ({"model": "timm:hf-hub:somebody/anything"}, "only when you name it"),
        ({"model": "timm:tiny", "transform": ["f"]}, "transforms of a program's own"),
    ],
)
def test_a_model_that_cannot_be_opened_safely_is_not(tmp_path, told, why):
    path = ours(tmp_path / "f.h5", clusters(3)[0], told={"features": told})
    refuse = SimpleNamespace(told={})
    with celeiro.open(path) as ds, pytest.raises(OptionError, match=why):
        features_of("x.jpg", ds, open_model=lambda *_, **__: refuse)


def test_a_layer_is_named_among_those_that_are_there(tmp_path):
    path = ours(tmp_path / "f.h5", clusters(3)[0])
    with celeiro.open(path) as ds, pytest.raises(OptionError, match="there are: none"):
        Directions(ds, "conv")
