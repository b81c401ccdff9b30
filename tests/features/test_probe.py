"""A linear probe: what scikit-learn finds by hand, in memory and out of it, or a clear error."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import celeiro
from celeiro.errors import ExistsError, FormatError, MissingExtraError, OptionError, SampleError
from celeiro.features.probe import probe
from celeiro.features.probing import exact, streamed
from celeiro.format import layout
from celeiro.format.checksum import crc32c

pytest.importorskip("sklearn")

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

GRID = (0.001, 0.01, 0.1)
# Below this 3,000 samples of 40 features are too many.
LITTLE = 2_000_000


def clouds(
    count: int = 600, *, classes: int = 3, dim: int = 20, noise: float = 1.5, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Features of classes that overlap, of very different scales, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    centres = rng.normal(size=(classes, dim))
    mixed = rng.normal(size=(dim, dim)) * np.geomspace(1, 0.1, dim)[:, None]
    features = (centres[labels] + rng.normal(0, noise, (count, dim))) @ mixed
    return (features * np.geomspace(0.01, 100, dim) + 3).astype(np.float32), labels


@pytest.fixture
def packed(tmp_path) -> Any:
    """`packed(features, labels, split=...)`: a file of features."""

    def make(features: Any, labels: Any = None, name: str = "f.h5", **options: Any) -> Path:
        return celeiro.pack(
            features, tmp_path / name, key="features", labels=labels, **options
        ).path

    return make


def by_hand(features: Any, labels: Any, train: Any, test: Any, C: float) -> Any:
    """Predictions of scikit-learn, called as its documentation has it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
    model.fit(features[train].astype(np.float32), labels[train])
    return model.predict(features[test].astype(np.float32))


def rows_of(path: Path, *names: str) -> list[npt.NDArray[np.int64]]:
    with celeiro.open(path) as ds:
        return [ds.split(name).rows for name in names]


# In memory


@pytest.mark.parametrize("classes", [2, 3])
def test_without_splits_it_is_a_grid_search_of_scikit_learn_on_a_stratified_quarter(
    packed, classes
):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = clouds(classes=classes)
    found = probe(packed(features, labels), C=GRID, seed=7)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=0.25, stratify=labels, random_state=7
    )
    train.sort()
    test.sort()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        {"logisticregression__C": GRID},
        cv=StratifiedKFold(3, shuffle=True, random_state=7),
    ).fit(features[train], labels[train])
    assert found.tested.tolist() == test.tolist()
    assert found.predicted.tolist() == search.predict(features[test]).tolist()
    assert search.best_params_ == {"logisticregression__C": found.C}
    scores = [score.accuracy for score in found.scores]
    assert scores == pytest.approx(search.cv_results_["mean_test_score"], abs=1e-9)
    assert found.rank1 == search.score(features[test], labels[test])
    assert (found.passes, found.chosen_on) == (0, "3 folds of 75 % of each class")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_on_the_files_splits_it_predicts_what_scikit_learn_does(packed, dtype):
    features, labels = clouds()
    path = packed(features.astype(dtype), labels, split={"train": 0.7, "test": 0.3})
    train, test = rows_of(path, "train", "test")
    found = probe(path, C=[0.05])
    stored = features.astype(dtype)
    assert found.predicted.tolist() == by_hand(stored, labels, train, test, 0.05).tolist()
    assert (found.trained_on, found.tested_on) == ("split train", "split test")
    assert (found.C, found.scores) == (0.05, ())


def test_c_is_chosen_on_val_and_the_test_split_has_no_say(packed):
    features, labels = clouds()
    path = packed(features, labels, split={"train": 0.6, "val": 0.2, "test": 0.2})
    train, val, test = rows_of(path, "train", "val", "test")
    found = probe(path, C=GRID)
    expected = [
        float((by_hand(features, labels, train, val, C) == labels[val]).mean()) for C in GRID
    ]
    assert [score.accuracy for score in found.scores] == pytest.approx(expected, abs=1e-9)
    assert GRID[int(np.argmax(expected))] == found.C
    assert found.chosen_on == "split val"
    assert found.predicted.tolist() == by_hand(features, labels, train, test, found.C).tolist()


def test_what_is_tested_on_changes_nothing_that_is_learned(packed):
    features, labels = clouds()
    splits = {"train": 0.7, "test": 0.3}
    path = packed(features, labels, split=splits)
    (test,) = rows_of(path, "test")
    features[test] = features[test] * 1000 - 5
    labels = labels.copy()
    labels[test] = 0
    with h5py.File(path, "r+") as file:
        file["features"][...] = features
        file["labels"][...] = labels
    with celeiro.open(path, verify=False) as ds:
        spoiled = probe(ds, C=GRID)
    found = probe(packed(*clouds(), "g.h5", split=splits), C=GRID)
    assert spoiled.scores == found.scores
    assert (spoiled.model[-1].coef_ == found.model[-1].coef_).all()


def test_splits_are_chosen_by_name(packed):
    path = packed(*clouds(), split={"a": 0.5, "b": 0.3, "c": 0.2})
    found = probe(path, train="b", test="c", C=[1])
    assert found.tested.tolist() == rows_of(path, "c")[0].tolist()
    assert (found.trained_on, found.train_samples) == ("split b", 180)
    assert probe(packed(*clouds(), "g.h5", split={"train": 0.8, "val": 0.2}), C=[1]).tested_on == (
        "split val"
    )


def test_report_and_matrix_are_those_of_scikit_learn(packed):
    from sklearn.metrics import classification_report, confusion_matrix, top_k_accuracy_score

    features, labels = clouds(900, classes=8, noise=4)
    found = probe(packed(features, labels), C=[0.1])
    true = labels[found.tested]
    assert (found.confusion == confusion_matrix(true, found.predicted)).all()
    report = classification_report(true, found.predicted, output_dict=True)
    for each in found.classes:
        expected = report[each.name]
        assert (each.precision, each.recall, each.f1, each.support) == pytest.approx(
            tuple(expected[name] for name in ("precision", "recall", "f1-score", "support"))
        )
    scores = found.model.decision_function(features[found.tested])
    assert found.rank5 == top_k_accuracy_score(true, scores, k=5)
    assert found.rank1 < found.rank5 < 1
    first = found.most_confused()[0]
    errors = found.confusion - np.diag(np.diag(found.confusion))
    assert first.count == errors.max() == errors[int(first.true), int(first.taken_for)]


def test_classes_have_their_names_and_their_numbers_may_be_any(packed):
    features, labels = clouds(classes=2)
    named = probe(packed(features, labels, label_names=["cat", "dog"]), C=[1])
    assert named.names == ("cat", "dog")
    odd = probe(packed(features, labels * 1000 - 7, "g.h5"), C=[1])
    assert odd.names == ("-7", "993")
    assert set(odd.predicted.tolist()) == {-7, 993}
    assert (odd.predicted == named.predicted * 1000 - 7).all()


def test_features_with_axes_are_flattened(packed):
    features, labels = clouds(dim=24)
    flat = probe(packed(features, labels), C=[1])
    cubes = probe(packed(features.reshape(-1, 2, 3, 4), labels, "g.h5"), C=[1])
    assert cubes.dim == 24
    assert (cubes.predicted == flat.predicted).all()


def test_a_view_is_probed_as_its_own_samples(packed):
    features, labels = clouds()
    with celeiro.open(packed(features, labels)) as ds:
        found = probe(ds.select(range(599, 199, -1)), C=[1])
    assert (found.train_samples, found.test_samples) == (300, 100)
    path = packed(features, labels, "g.h5", split={"train": 0.5, "test": 0.5})
    with celeiro.open(path) as ds:
        kept = ds.select(np.arange(0, 600, 2))
        half = probe(kept, C=[1])
        assert half.train_samples + half.test_samples == 300
        assert np.isin(kept.rows[half.tested], ds.split("test").rows).all()


def test_anybodys_file_and_the_articles_are_probed(tmp_path):
    features, labels = clouds()
    with celeiro.HDF5Dataset(features.shape, tmp_path / "a.h5", data_key="features") as db:
        db.add(features, labels)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["features"], file["labels"] = features, labels
    ours, theirs = probe(tmp_path / "a.h5", C=[1]), probe(tmp_path / "b.h5", C=[1])
    assert ours.key == theirs.key == "features"
    assert (ours.predicted == theirs.predicted).all()


@pytest.mark.parametrize("memory", [LITTLE, 10**9])
def test_bfloat16_is_computed_in_float32(packed, tmp_path, memory):
    features, labels = clouds(3000, classes=2, dim=40, noise=3)
    bfloat16 = h5py.h5t.IEEE_F32LE.copy()
    bfloat16.set_fields(15, 7, 8, 0, 7)
    bfloat16.set_size(2)
    bfloat16.set_ebias(127)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        space = h5py.h5s.create_simple(features.shape)
        data = h5py.Dataset(h5py.h5d.create(file.id, b"features", bfloat16, space))
        data[...] = features
        file["labels"] = labels
        rounded = data[...].astype(np.float32)
    assert (rounded != features).any()
    found = probe(tmp_path / "b.h5", C=[1], memory=memory)
    same = probe(packed(rounded, labels), C=[1], memory=memory)
    assert (found.passes > 0) == (memory == LITTLE)
    assert found.predicted.tolist() == same.predicted.tolist()


# Out of core


def exceeding(count: int, dim: int, classes: int, noise: float) -> Any:
    return clouds(count, classes=classes, dim=dim, noise=noise)


@pytest.mark.parametrize(("classes", "noise"), [(2, 4), (6, 3)])
@pytest.mark.parametrize("order", ["mixed", "sorted"])
def test_out_of_core_reaches_the_accuracy_of_the_solver_in_memory(packed, classes, noise, order):
    features, labels = exceeding(3000, 40, classes, noise)
    if order == "sorted":
        by_class = np.argsort(labels, kind="stable")
        features, labels = features[by_class], labels[by_class]
    path = packed(features, labels)
    whole = probe(path, C=GRID)
    parts = probe(path, C=GRID, memory=LITTLE)
    assert (whole.passes, parts.passes > 3) == (0, True)
    assert 0.5 < whole.rank1 < 0.97  # neither chance nor child's play
    assert abs(whole.rank1 - parts.rank1) < 0.012
    same = probe(path, C=[whole.C], memory=LITTLE)
    assert (same.predicted == whole.predicted).mean() > 0.98
    assert len(parts.scores) == len(GRID)
    assert (parts.tested == whole.tested).all()


def test_out_of_core_standardises_as_scikit_learn_does(packed):
    from sklearn.preprocessing import StandardScaler

    features, labels = exceeding(3000, 40, 2, 3)
    found = probe(packed(features, labels, split={"train": 0.8, "test": 0.2}), C=[1], memory=LITTLE)
    (train,) = rows_of(found.path, "train")
    scaler = StandardScaler().fit(features[train].astype(np.float64))
    assert found.passes > 1
    assert found.model[0].mean_ == pytest.approx(scaler.mean_, rel=1e-5)
    assert found.model[0].scale_ == pytest.approx(scaler.scale_, rel=1e-5)


def test_out_of_core_chooses_on_val_and_learns_from_all_of_train(packed):
    features, labels = exceeding(3000, 40, 3, 3)
    path = packed(features, labels, split={"train": 0.7, "val": 0.1, "test": 0.2})
    found = probe(path, C=(1e-5, 0.1), memory=LITTLE)
    train, test = rows_of(path, "train", "test")
    assert (found.chosen_on, found.C, found.train_samples) == ("split val", 0.1, 2100)
    expected = by_hand(features, labels, train, test, 0.1)
    assert (found.predicted == expected).mean() > 0.98


def test_each_pass_reads_no_more_than_there_is_memory_for(packed, monkeypatch):
    features, labels = exceeding(4000, 64, 2, 3)
    path = packed(features, labels)
    most = 0
    with celeiro.open(path) as ds:
        read = ds.read

        def watched(rows, out=None):
            nonlocal most
            found = read(rows, out)
            most = max(most, found.nbytes)
            return found

        monkeypatch.setattr(ds, "read", watched)
        found = probe(ds, C=GRID, memory=LITTLE)
    assert found.passes
    assert 0 < most < LITTLE // 4


def test_gradients_are_those_of_the_loss():
    from sklearn.preprocessing import StandardScaler

    for classes in (2, 4):
        features, labels = clouds(60, classes=classes, dim=5)
        scaler = StandardScaler().fit(features)
        columns = classes if classes > 2 else 1
        objective = streamed.Objective(scaler, columns, 32)
        blocks = [(features[at : at + 32], labels[at : at + 32]) for at in (0, 32)]
        rng = np.random.default_rng(0)
        points = [rng.normal(0, 0.3, (6, columns)) for _ in range(2)]
        for point, penalty, (loss, slope) in zip(
            points, (0.1, 0.5), objective(blocks, points, (0.1, 0.5)), strict=True
        ):
            way = rng.normal(size=point.shape)
            near = [point + step * way for step in (-1e-3, 1e-3)]
            low, high = (found[0] for found in objective(blocks, near, (penalty, penalty)))
            assert np.vdot(slope, way) == pytest.approx((high - low) / 2e-3, rel=2e-3)
            assert np.isfinite(loss)


def test_weights_without_room_are_refused_with_what_they_want(packed):
    features, labels = clouds(1200, classes=300, dim=50)
    with pytest.raises(OptionError, match=r"weights of 3 values of C for 300 classes of 50"):
        probe(packed(features, labels), C=GRID, memory=1_000_000)


def test_memory_is_shared_out_below_what_there_is():
    shares = streamed.plan(memory=800_000_000, dim=1280, stored=2560, columns=10, grid=6)
    assert shares.block * (1280 * 4 + 5 * 2560 + 60 * 12) <= 100_000_000
    assert shares.sample * 2560 <= 200_000_000
    many = streamed.plan(memory=800_000_000, dim=1280, stored=2560, columns=620, grid=6)
    assert many.pairs < shares.pairs


# Files that are written


@pytest.mark.parametrize("memory", [LITTLE, 10**9])
def test_a_saved_probe_predicts_the_same_and_holds_no_pickle(packed, tmp_path, memory):
    skops = pytest.importorskip("skops.io")
    features, labels = exceeding(3000, 40, 3, 2)
    target = tmp_path / "probe.skops"
    found = probe(packed(features, labels), C=[0.1], memory=memory, save=target)
    assert (found.passes > 0) == (memory == LITTLE)
    assert skops.get_untrusted_types(file=target) == []
    again = skops.load(target)
    assert again.predict(features[found.tested]).tolist() == found.predicted.tolist()
    assert again[-1].classes_.tolist() == [0, 1, 2]
    assert b"pickle" not in target.read_bytes()


def test_the_matrix_is_drawn_as_png_whatever_the_names_hold(packed, tmp_path):
    import cv2

    pytest.importorskip("matplotlib")
    features, labels = clouds(classes=3)
    names = ["$x^{2", "猫", "a_{b"]
    probe(packed(features, labels, label_names=names), C=[1], plot=tmp_path / "few.png")
    many, numbers = clouds(1200, classes=120)
    probe(packed(many, numbers, "g.h5"), C=[1], plot=tmp_path / "many.PNG")
    for name in ("few.png", "many.PNG"):
        picture = cv2.imread(str(tmp_path / name))
        assert picture.shape[0] > 400
        assert len(np.unique(picture)) > 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.h5", "few.png", "g.h5", "many.PNG"]


def test_what_is_there_stays_unless_it_may_be_replaced(packed, tmp_path):
    path = packed(*clouds())
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for name in ("save", "plot"):
        with pytest.raises(ExistsError, match="taken is there already"):
            probe(path, C=[1], **{name: taken})
    assert taken.read_text() == "mine"
    probe(path, C=[1], plot=taken, overwrite=True)
    assert taken.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OptionError, match="no folder"):
        probe(path, plot=tmp_path / "none" / "a.png")
    with pytest.raises(OptionError, match="wanted two names"):
        probe(path, plot=tmp_path / "a", save=tmp_path / "a")


def test_the_result_is_json_and_one_line(packed):
    found = probe(packed(*clouds(classes=6)), C=GRID)
    told = json.loads(json.dumps(found.to_json()))
    assert told["rank1"] == found.rank1
    assert told["confusion"] == found.confusion.tolist()
    assert [each["support"] for each in told["classes"]] == [25] * 6
    assert re.fullmatch(r"<celeiro.Probe 'f.h5' 6 classes, rank-1 \d+\.\d\d % of 150>", repr(found))


@pytest.mark.parametrize("memory", [LITTLE, 10**9])
def test_progress_is_told(packed, memory):
    features, labels = exceeding(3000, 40, 2, 3)
    seen = []
    probe(
        packed(features, labels), C=GRID, memory=memory,
        on_progress=lambda now: seen.append((now.done, now.total, now.bytes_done)),
    )  # fmt: skip
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1][2] >= 3000 * 40 * 4
    assert seen[-1][1] == (None if memory == LITTLE else seen[-1][0])


# What cannot be probed


def test_a_value_that_is_not_finite_is_named_by_sample_and_key(packed, tmp_path):
    for memory in (LITTLE, 10**9):
        for row in (0, 2999):  # one is learned from, the other tested on
            features, labels = exceeding(3000, 40, 2, 3)
            features[row, 17] = np.nan if row else np.inf
            path = packed(features, labels, f"{memory}-{row}.h5")
            with pytest.raises(
                SampleError, match=rf"sample {row:,}: value 17 .* is (nan|inf)"
            ) as e:
                probe(path, C=[1], memory=memory)
            assert e.value.sample == row
    beyond = np.full((40, 3), 1e300)
    with pytest.raises(SampleError, match=r"value 0 of 'features' is inf; .*within float32"):
        probe(packed(beyond, np.arange(40) % 2, "g.h5"))


def test_finite_values_whose_sum_is_not_are_no_error(packed):
    features = np.full((40, 4), 3e38, np.float32)
    features[::2] *= -1
    assert probe(packed(features / 1e3, np.arange(40) % 2), C=[1]).rank1 == 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "has no labels"),
        (np.linspace(0, 1, 60), r"labels are float64, such as \[0.0\]; wanted whole numbers"),
        (np.zeros((60, 3), np.int64), "several a sample; wanted one class number"),
        (np.zeros(60, np.int64), "all 60 samples are of one class, '0'; wanted at least two"),
        (np.r_[[0] * 59, 1], "the whole file: too few samples of '1' 1; .* at least 4"),
        (np.arange(60), "too few samples of '0' 1, '1' 1, .* and 55 more; .* at least 4"),
        (np.repeat([0, 1, 2], [28, 29, 3]), "the whole file: too few samples of '2' 3;"),
    ],
)
def test_labels_that_a_probe_cannot_learn_are_refused(packed, labels, message):
    features, _ = clouds(60)
    with pytest.raises(OptionError, match=message):
        probe(packed(features, labels))


@pytest.mark.parametrize("C", [[1], GRID])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_file_of_very_few_samples_is_refused_in_words(packed, count, C):
    features, _ = clouds(60)
    labels = np.arange(count)
    message = "its one sample is of one class" if count == 1 else "too few samples of '0' 1, '1' 1"
    with pytest.raises(OptionError, match=f"f.h5: the whole file: {message}.*(wanted|at) least"):
        probe(packed(features[:count], labels), C=C)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            {"train": [0], "test": [1]},
            r"split train: its one sample is of one class, 'cat'.*Add sa",
        ),
        ({"train": range(10), "test": [11]}, "split train: all 10 samples are of one class, 'cat'"),
        ({"train": [0, 20], "test": [1, 21]}, "split train: too few samples of 'cat' 1, 'dog' 1"),
        ({"train": [0, 1, 2, 20], "test": [3, 21]}, "too few samples of 'dog' 1; choosing C takes"),
    ],
)
def test_splits_of_very_few_samples_are_refused_in_words(tmp_path, splits, message):
    path = split_file(tmp_path / "s.h5", splits, THREE, NAMES)
    for memory in (LITTLE, 10**9):
        with pytest.raises(OptionError, match=message):
            probe(path, memory=memory)


def test_a_picture_of_another_kind_than_png_is_refused(packed, tmp_path):
    with pytest.raises(OptionError, match=r"plot .*c.svg: wanted a name with .png"):
        probe(packed(*clouds()), plot=tmp_path / "c.svg")


def test_pictures_and_samples_of_many_sizes_are_no_features(packed, tmp_path, photo_folder):
    with pytest.raises(OptionError, match=r"60 × 8 uint8; wanted features: floats.*celeiro feat"):
        probe(packed(np.zeros((60, 8), np.uint8), np.arange(60) % 2))
    encoded = celeiro.pack(photo_folder(4), tmp_path / "e.h5", store="encoded").path
    with pytest.raises(OptionError, match=r"4 × \? × \? × 3 uint8; wanted features"):
        probe(encoded)
    with pytest.raises(OptionError, match=r"60 float32; wanted features"):
        probe(packed(np.zeros(60, np.float32), np.arange(60) % 2, "g.h5"))


def split_file(path: Path, splits: dict[str, Any], labels: Any, names: list[str]) -> Path:
    """A file whose splits are what the caller wants them to be, whether or not they make sense."""
    features = np.random.default_rng(0).normal(size=(len(labels), 4)).astype(np.float32)
    celeiro.pack(
        features, path, key="features", labels=labels, label_names=names, overwrite=True,
        split={name: 1 / len(splits) for name in splits},
    )  # fmt: skip
    with h5py.File(path, "r+") as file:
        for name, rows in splits.items():
            del file[layout.split(name)]
            file[layout.split(name)] = values = np.array(rows, np.uint64)
            file[layout.split(name)].attrs[layout.ATTR_CRC] = np.uint32(crc32c(values))
    return path


NAMES = ["cat", "dog", "owl"]
THREE = np.repeat([0, 1, 2], 20)


def test_a_class_that_nothing_is_learned_of_is_refused(tmp_path):
    train = [*range(15), *range(20, 35)]
    for role in ("test", "val"):
        splits = {"train": train, "test": [15, 35], "val": [16, 36]}
        splits[role] = [17, *range(40, 50)]
        path = split_file(tmp_path / "s.h5", splits, THREE, NAMES)
        with pytest.raises(
            OptionError, match=rf"split {role} has 10 samples of 'owl', and split train has none"
        ):
            probe(path)


def test_a_class_that_is_not_tested_on_is_noted(tmp_path):
    splits = {"train": [*range(15), *range(20, 35)], "test": range(15, 20)}
    found = probe(split_file(tmp_path / "s.h5", splits, THREE, NAMES), C=[1])
    assert found.notes == ("split test has no sample of 'dog': nothing is known of them",)
    assert [each.support for each in found.classes] == [5, 0]
    assert found.classes[1].recall == 0.0


def test_too_few_samples_to_choose_c_are_refused_and_one_c_is_no_choice(tmp_path):
    splits = {"train": [*range(15), 20, 21], "test": [16, 30]}
    path = split_file(tmp_path / "s.h5", splits, THREE, NAMES)
    with pytest.raises(OptionError, match=r"split train: too few samples of 'dog' 2; choosing C"):
        probe(path)
    assert probe(path, C=[1]).train_samples == 17


@pytest.mark.parametrize(
    ("splits", "options", "message"),
    [
        ({"train": range(40), "test": range(39, 60)}, {}, "1 samples are in split train and in sp"),
        ({"train": range(40), "test": range(40, 60)}, {"test": "train"}, "40 samples are in split"),
        ({"train": range(40), "rest": range(40, 60)}, {}, r"no split 'test', but 'rest', 'train'"),
        ({"a": range(40), "b": range(40, 60)}, {"test": "b"}, r"no split 'train'.*with --train"),
        ({"train": range(40), "test": []}, {}, "split 'test' has no samples here"),
    ],
)
def test_splits_that_test_nothing_are_refused(tmp_path, splits, options, message):
    path = split_file(tmp_path / "s.h5", splits, THREE, NAMES)
    with pytest.raises(OptionError, match=message):
        probe(path, **options)


def test_a_split_of_a_file_without_any_is_refused(packed):
    with pytest.raises(OptionError, match="it has no splits, so no split 'val'"):
        probe(packed(*clouds()), test="val")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"C": []}, r"C \[\]: wanted one or more numbers above 0"),
        ({"C": [0.1, -1]}, "above 0"),
        ({"C": [float("nan")]}, "above 0"),
        ({"memory": 10}, "memory 10: wanted bytes"),
    ],
)
def test_options_without_a_meaning_are_refused(packed, options, message):
    with pytest.raises(OptionError, match=message):
        probe(packed(*clouds()), **options)


def test_what_goes_with_a_path_is_refused_with_a_dataset(packed, tmp_path):
    with (
        celeiro.open(packed(*clouds())) as ds,
        pytest.raises(OptionError, match="go with a path"),
    ):
        probe(ds, key="features")
    with pytest.raises(FormatError, match="none.h5: cannot be read"):
        probe(tmp_path / "none.h5")


def test_a_chosen_c_at_the_edge_is_noted(packed):
    found = probe(packed(*clouds()), C=(1e-9, 1e-8, 1e-2))
    assert found.notes == ("C 0.01 is the largest that was tried: try larger ones",)


@pytest.mark.parametrize(
    ("module", "options"),
    [("sklearn", {}), ("skops.io", {"save": "a"}), ("matplotlib", {"plot": "a"})],
)
def test_a_missing_library_is_told_with_the_line_to_type(
    packed, tmp_path, monkeypatch, module, options
):
    path = packed(*clouds())
    monkeypatch.setitem(sys.modules, module, None)
    options = {name: tmp_path / value for name, value in options.items()}
    with pytest.raises(MissingExtraError, match=r"pip install 'celeiro\[features\]'"):
        probe(path, **options)


def test_what_c_is_chosen_on_counts_as_memory() -> None:
    alone = exact.needs(100, 10, 2)
    assert alone >= 100 * 10 * 12  # float32, a fold of it, and float64 while it is standardised
    assert exact.needs(100, 10, 2, judged=1000) >= alone + 1000 * 10 * 8
