"""`celeiro similar` as a user types it."""

from __future__ import annotations

import json

import cv2
import h5py
import numpy as np
import pytest

import celeiro as package


@pytest.fixture
def path(tmp_path, photo_folder):
    """Features of photographs: cat.0 is dog.1, but for its name; cat.2 and cat.4 are near."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 8)).astype(np.float32)
    rows[:20] += np.eye(1, 8, 0)[0] * 9
    rows[20:] += np.eye(1, 8, 1)[0] * 9
    rows[1] = rows[30]
    rows[4] = rows[2] * 1.5 + 0.001
    labels = ["cat"] * 20 + ["dog"] * 20
    labels[7] = "dog"
    codes = [("cat", "dog").index(label) for label in labels]
    made = tmp_path / "features.h5"
    package.pack(rows, made, labels=codes, label_names=["cat", "dog"], split="train=0.5,test=0.5")
    return made


def test_neighbours_are_a_table(celeiro, path):
    ran = celeiro("similar", path, "2", "-k", "3")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].startswith("like sample 2 (cat, ")
    assert lines[0].endswith("of 39 samples:")
    assert lines[1].split() == ["cosine", "sample", "label", "split"]
    assert lines[2].split()[:3] == ["1.0000", "4", "cat"]
    assert len(lines) == 5


def test_without_choices_duplicates_and_suspects_are_told(celeiro, path):
    ran = celeiro("similar", path, "--threshold", "0.999", "-k", "5", "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert "duplicates: 2 groups (1 the same to the bit, the others from cosine 0.999)" in ran.out
    assert "LABELS" in ran.out
    assert "suspect labels: 2 of 40 samples, by 5 neighbours" in ran.out
    assert ran.out.splitlines()[-1].split()[-1] in ("cat", "dog")


def test_json_has_all_of_it(celeiro, path):
    options = ("--threshold", "0.999", "-k", "5", "--quiet", "--json")
    told = json.loads(celeiro("similar", path, *options).out)
    groups = [[m["number"] for m in g["members"]] for g in told["duplicates"]["groups"]]
    assert sorted(groups) == [[1, 30], [2, 4]]
    assert {each["number"] for each in told["suspects"]["found"]} == {1, 7}
    told = json.loads(celeiro("similar", path, "2", "3", "--json").out)
    assert [each["of"]["number"] for each in told["neighbours"]] == [2, 3]


def test_only_leaks_are_told_when_asked(celeiro, path):
    options = ("--duplicates", "--between-splits", "--threshold", "0.999", "-q", "--json")
    told = json.loads(celeiro("similar", path, *options).out)["duplicates"]
    with package.open(path) as ds:
        train = set(ds.split("train").rows.tolist())
    leaks = [pair for pair in ([1, 30], [2, 4]) if len(train & set(pair)) == 1]
    groups = [[m["number"] for m in g["members"]] for g in told["groups"]]
    assert sorted(groups) == leaks
    assert told["leaks"] == len(leaks)


def test_a_file_without_labels_has_no_suspects(celeiro, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["features"] = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    ran = celeiro("similar", tmp_path / "x.h5", "-q")
    assert ran.code == 0
    assert "suspect" not in ran.out
    ran = celeiro("similar", tmp_path / "x.h5", "--suspects", "-q")
    assert ran.code == 2
    assert "no labels" in ran.err


def test_a_sheet_is_drawn(celeiro, path, tmp_path, photo_folder):
    package.pack(photo_folder(40), tmp_path / "photos.h5")
    sheet = tmp_path / "like.png"
    asked = ("similar", path, "2", "--plot", sheet, "--images", tmp_path / "photos.h5")
    ran = celeiro(*asked)
    assert (ran.code, ran.err) == (0, f"drawn: {sheet}\n")
    assert cv2.imread(str(sheet)) is not None
    ran = celeiro(*asked)
    assert ran.code == 1
    assert "is there already" in ran.err


def test_names_in_a_file_cannot_move_the_cursor(celeiro, tmp_path):
    rows = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    names = ["\x1b[2Jcat", "[red]dog"]
    package.pack(rows, tmp_path / "f.h5", labels=[0, 1, 0, 1], label_names=names)
    out = celeiro("similar", tmp_path / "f.h5", "0").out
    assert "\x1b" not in out
    assert "[red]dog" in out


def test_what_is_the_same_to_the_bit_is_a_threshold_of_1(celeiro, path):
    ran = celeiro("similar", path, "--duplicates", "--threshold", "1", "-q")
    assert ran.out.startswith("duplicates: 1 group (the same to the bit), ")
    first, second = (line.split() for line in ran.out.splitlines()[2:])
    assert first[first.index("same") :][:3] == ["same", "1", "cat"]
    assert second[:3] == ["same", "30", "dog"]


@pytest.mark.parametrize(
    ("words", "goes_with"),
    [
        (["2", "--threshold", "0.9"], "--duplicates"),
        (["2", "--between-splits"], "--duplicates"),
        (["2", "--approximate"], "--duplicates or --suspects"),
        (["2", "--exact"], "--duplicates or --suspects"),
        (["2", "--memory", "1GB"], "--duplicates or --suspects"),
        (["2", "--all"], "--duplicates or --suspects"),
        (["--duplicates", "-k", "5"], "samples, --picture or --suspects"),
        (["--suspects", "--threshold", "0.9"], "--duplicates"),
        (["--suspects", "--between-splits"], "--duplicates"),
        (["2", "--model", "timm:x"], "--picture"),
        (["--weights", "w.pt"], "--picture"),
        (["--images", "photos"], "--plot"),
        (["2", "--overwrite"], "--plot"),
    ],
)
def test_an_option_of_another_mode_is_refused_and_says_which(celeiro, path, words, goes_with):
    ran = celeiro("similar", path, *words, "-q")
    assert (ran.code, ran.out) == (2, "")
    name = next(word for word in reversed(words) if word.startswith("-")).replace("-k", "--neig")
    assert ran.err.startswith(f"celeiro: {name}")
    assert f" goes with {goes_with}" in ran.err


def test_nothing_is_between_splits_of_a_file_without_any(celeiro, tmp_path):
    rows = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    package.pack(rows, tmp_path / "f.h5")
    ran = celeiro("similar", tmp_path / "f.h5", "--between-splits", "-q")
    assert ran.code == 2
    assert "it has no splits" in ran.err


@pytest.fixture
def of_photos(tmp_path, photo_folder):
    """Features whose source stands beside them, and that source."""
    photos = package.pack(photo_folder(6), tmp_path / "photos.h5").path
    made = tmp_path / "f.h5"
    package.extract_features(
        photos, lambda images: np.asarray(images, np.float32).mean(axis=(1, 2)), made, size=(8, 8)
    )
    return made, photos


def test_a_source_that_has_changed_is_told_before_its_pictures_are_drawn(
    celeiro, of_photos, tmp_path, photo_folder
):
    made, photos = of_photos
    assert celeiro("similar", made, "0", "--plot", tmp_path / "a.png").err.startswith("drawn: ")
    package.pack(photo_folder(6, name="other", seed=1), photos, overwrite=True)
    folder = tmp_path / "photos"
    for at, (words, told) in enumerate(
        [([], True), (["--images", photos], True), (["--images", folder], False)]
    ):
        ran = celeiro("similar", made, "0", "--json", "--plot", tmp_path / f"{at}.png", *words)
        assert ran.code == 0
        assert json.loads(ran.out)["neighbours"]
        assert ("warning: photos.h5 beside it is no longer the file" in ran.err) == told
    assert celeiro("similar", made, "0").err == ""
    ran = celeiro("similar", made, "--picture", folder / "cat.0.jpg")
    assert "warning: photos.h5 beside it is no longer the file" in ran.err


def test_json_is_written_item_by_item_as_json_writes_it(celeiro, path, capsys):
    options = {"threshold": 0.999}
    told = {"duplicates": package.duplicates(path, **options), "suspects": package.suspects(path)}
    ran = celeiro("similar", path, "--threshold", "0.999", "-q", "--json")
    again = json.loads(ran.out)
    for name, result in told.items():
        assert again[name] | {"seconds": 0} == json.loads(json.dumps(result.to_json())) | {
            "seconds": 0
        }
    assert ran.out == json.dumps(again, indent=2) + "\n"
    empty = celeiro("similar", path, "--duplicates", "--threshold", "0.99999", "--json", "-q").out
    assert empty == json.dumps(json.loads(empty), indent=2) + "\n"


def test_all_are_listed_when_asked_and_the_first_otherwise(celeiro, tmp_path):
    rows = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    package.pack(np.concatenate([rows, rows]), tmp_path / "f.h5")
    words = ("similar", tmp_path / "f.h5", "--threshold", "1", "-q")
    lines = celeiro(*words).out.splitlines()
    assert len(lines) == 2 + 2 * 20 + 1
    assert lines[-1] == "… and 10 more groups (--all lists them)"
    assert len(celeiro(*words, "--all").out.splitlines()) == 2 + 2 * 30


@pytest.mark.parametrize(
    "words",
    [["0", "--duplicates"], ["--memory", "much"], ["--plot", "x.txt"], ["99"], ["owl.jpg"],
     ["--duplicates", "--threshold", "2"]],
)  # fmt: skip
def test_what_makes_no_sense_is_exit_code_2(celeiro, path, words):
    ran = celeiro("similar", path, *words, "-q")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("celeiro: ")
