from __future__ import annotations

import inspect
import os
import sys
import tracemalloc

import numpy as np
import pytest

from celeiro.errors import OptionError, SourceError
from celeiro.packing.sources import folder as module
from celeiro.packing.sources.folder import list_folder


@pytest.fixture
def tree(tmp_path):
    """A function that makes files (nothing opens them, so they hold only their names)."""

    def make(*paths):
        for path in paths:
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(path)
        return tmp_path

    return make


def keys(listing):
    return [key.decode() for key in listing.keys]


def classes(listing):
    return [listing.label_names[number] for number in listing.labels]


def splits(listing):
    return [listing.split_names[code] for code in listing.splits]


# The walk


def test_pictures_come_before_sub_folders_and_in_the_order_of_bytes(tree):
    root = tree("b/2.png", "b/10.png", "b/B.png", "b/a/1.png", "a/é.png", "a/z.png", "C/x.png")
    expected = ["C/x.png", "a/z.png", "a/é.png", "b/10.png", "b/2.png", "b/B.png", "b/a/1.png"]
    assert keys(list_folder(root)) == expected


def test_size_time_and_path_of_each_file_are_told(tree):
    root = tree("cats/1.jpg", "dogs/22.jpg")
    os.utime(root / "dogs/22.jpg", ns=(1, 1_234_567_890_123_456_789))
    listing = list_folder(root)
    assert listing.sizes.tolist() == [10, 11]
    assert listing.mtimes[1] == (root / "dogs/22.jpg").stat().st_mtime_ns
    assert listing.path(1) == os.fsencode(root / "dogs/22.jpg")
    assert len(listing) == 2


def test_pictures_are_known_by_their_extension_in_any_case(tree):
    root = tree(
        "a.JPG", "b.jpeg", "c.TiFf", "d.webp", "e.gif", "f.bmp", "g.png", "jpg", "h.jpg.txt"
    )
    assert keys(list_folder(root)) == [
        "a.JPG",
        "b.jpeg",
        "c.TiFf",
        "d.webp",
        "e.gif",
        "f.bmp",
        "g.png",
    ]


def test_what_is_passed_over_is_counted(tree):
    root = tree(
        "a.jpg", "notes.txt", ".hidden.jpg", "._a.jpg", "Thumbs.db",
        ".git/x.jpg", ".git/deep/y", "__MACOSX/a.jpg", "sub/.DS_Store",
    )  # fmt: skip
    listing = list_folder(root)
    assert keys(listing) == ["a.jpg"]
    assert listing.ignored == 8


def test_a_hidden_root_is_what_the_user_asked_for(tree):
    root = tree(".data/a.jpg")
    assert keys(list_folder(root / ".data")) == ["a.jpg"]


def test_a_folder_named_like_a_picture_is_a_folder(tree):
    root = tree("cats.jpg/1.jpg", "dogs.jpg/readme.txt", "dogs/1.jpg")
    listing = list_folder(root)
    assert keys(listing) == ["cats.jpg/1.jpg", "dogs/1.jpg"]
    assert listing.label_names == ("cats.jpg", "dogs")


def test_links_are_followed_and_loops_are_not(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "far.jpg").write_text("far")
    root = tree("a/1.jpg", "b/2.jpg")
    (root / "c").symlink_to(elsewhere)
    (root / "a/link.jpg").symlink_to(elsewhere / "far.jpg")
    (root / "a/back").symlink_to(root)
    (root / "b/self").symlink_to(root / "b")
    listing = list_folder(root)
    assert keys(listing) == ["a/1.jpg", "a/link.jpg", "b/2.jpg", "c/far.jpg"]
    assert listing.sizes.tolist() == [7, 3, 7, 3]


def test_a_link_that_leads_nowhere_is_listed_with_no_bytes(tree):
    root = tree("a.jpg")
    (root / "b.jpg").symlink_to(root / "gone.jpg")
    (root / "c.jpg").symlink_to(root / "c.jpg")
    (root / "d.txt").symlink_to(root / "gone.txt")
    listing = list_folder(root)
    assert keys(listing) == ["a.jpg", "b.jpg", "c.jpg"]
    assert listing.sizes.tolist() == [5, 0, 0]
    assert listing.mtimes.tolist()[1:] == [0, 0]
    assert listing.ignored == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_named_like_a_picture_is_never_opened(tree):
    root = tree("a.jpg")
    os.mkfifo(root / "b.jpg")
    (root / "c.jpg").symlink_to(root / "b.jpg")
    listing = list_folder(root)
    assert keys(listing) == ["a.jpg"]
    assert listing.ignored == 2


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode here")
def test_names_that_are_not_utf8_are_kept_byte_for_byte(tree):
    root = tree("cat.1.jpg", "dog.1.jpg", "dog.2.jpg")
    name = b"cat.\xff\xe9.jpg"
    with open(os.path.join(os.fsencode(root), name), "wb") as file:
        file.write(b"x")
    listing = list_folder(root)
    assert name in list(listing.keys)
    assert classes(listing) == ["cat", "cat", "dog", "dog"]
    with open(listing.path(1), "rb") as file:
        assert file.read() == b"x"


def test_folders_deeper_than_the_stack_are_walked(tree):
    root = tree("class/" + "d/" * 200 + "1.jpg")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 60)
    try:
        listing = list_folder(root)
    finally:
        sys.setrecursionlimit(limit)
    assert len(listing) == 1
    assert classes(listing) == ["class"]


def test_a_folder_that_cannot_be_read_is_named(tree, monkeypatch):
    root = tree("a/1.jpg", "b/1.jpg", ".c/1.jpg")
    scandir = os.scandir

    def refuse(path):
        if path.endswith((b"/b/", b"/.c/")):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"/b/: Permission denied. Every folder"):
        list_folder(root)
    (root / "b/1.jpg").unlink()
    monkeypatch.setattr(os, "scandir", lambda p: scandir(p) if b".c" not in p else refuse(p))
    assert len(list_folder(root)) == 1


def test_a_file_that_vanishes_while_listing_is_named(tree, monkeypatch):
    root = tree("a/1.jpg", "a/2.jpg")
    read = module._read_folder

    def read_and_lose(path):
        result = read(path)
        if result[0]:
            (root / "a/2.jpg").unlink()
        return result

    monkeypatch.setattr(module, "_read_folder", read_and_lose)
    with pytest.raises(SourceError, match=r"a/2.jpg: not there \(any more\)"):
        list_folder(root)


@pytest.mark.parametrize("path", ["nowhere", "a.jpg"])
def test_a_root_that_is_no_folder_is_a_clear_error(tree, path):
    root = tree("a.jpg")
    with pytest.raises(SourceError, match=path):
        list_folder(root / path)


def test_no_pictures_say_what_was_there_and_what_is_wanted(tree):
    root = tree("a.txt", "b/c.txt")
    with pytest.raises(SourceError, match=r"no pictures below it \(2 other.*\.bmp.*\.jpg.*\.png"):
        list_folder(root)


# Labels


def test_the_first_folder_is_the_class_and_deeper_ones_belong_to_it(tree):
    root = tree("dogs/small/1.jpg", "dogs/2.jpg", "cats/3.jpg", "Zebras/a/b/c/4.jpg")
    listing = list_folder(root)
    assert listing.labels_from == "folder"
    assert listing.label_names == ("Zebras", "cats", "dogs")
    assert classes(listing) == ["Zebras", "cats", "dogs", "dogs"]
    assert listing.labels.dtype == np.int64


def test_names_tell_the_class_in_a_flat_folder(tree):
    root = tree("dog.1.jpg", "cat.0.jpg", "cat.10.jpg", "dog.2.x.jpg")
    listing = list_folder(root)
    assert listing.labels_from == "name"
    assert classes(listing) == ["cat", "cat", "dog", "dog"]


@pytest.mark.parametrize(
    "names",
    [
        ["1.jpg", "2.jpg", "3.jpg"],
        ["cat.1.jpg", "cat.2.jpg"],
        ["cat.1.jpg", "dog.1.jpg", "cat.2.jpg"],
    ],
)
def test_names_that_do_not_repeat_are_no_classes(tree, names):
    listing = list_folder(tree(*names))
    assert listing.labels_from == "none"
    assert listing.labels is None
    assert listing.label_names == ()


def test_labels_can_be_chosen(tree):
    root = tree("a/cat.1.jpg", "b/dog.1.jpg")
    assert list_folder(root, labels="folder").label_names == ("a", "b")
    assert list_folder(root, labels="name").label_names == ("cat", "dog")
    assert list_folder(root, labels="none").labels is None


def test_a_pattern_finds_the_class_anywhere_in_the_path(tree):
    root = tree("x/2019_cat_1.jpg", "y/2020_dog_1.jpg")
    listing = list_folder(root, label_pattern=r"_(\w+)_\d")
    assert (listing.labels_from, classes(listing)) == ("name", ["cat", "dog"])
    assert classes(list_folder(root, label_pattern=r"^(.)/")) == ["x", "y"]


def test_a_pattern_that_finds_nothing_names_the_file(tree):
    root = tree("x/cat_1.jpg", "y/other.jpg")
    with pytest.raises(SourceError, match=r"y/other.jpg: label pattern '\(cat\)' finds no class"):
        list_folder(root, label_pattern="(cat)")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "regular expression"), ("cat", "0 groups"), ("(a)(b)", "2 groups")],
)
def test_a_pattern_without_exactly_one_group_is_refused(tree, pattern, message):
    with pytest.raises(OptionError, match=message):
        list_folder(tree("a.jpg"), label_pattern=pattern)


def test_labels_that_contradict_or_do_not_exist_are_refused(tree):
    root = tree("a.jpg")
    with pytest.raises(OptionError, match="contradict"):
        list_folder(root, labels="none", label_pattern="(a)")
    with pytest.raises(OptionError, match="'files' is unknown.*auto, folder, name, none"):
        list_folder(root, labels="files")


@pytest.mark.parametrize("labels", ["auto", "folder"])
def test_pictures_inside_and_outside_of_classes_are_counted_and_refused(tree, labels):
    root = tree("a.jpg", "cats/1.jpg", "cats/2.jpg")
    message = "1 pictures stand in the folder itself and 2 in sub-folders.*'folder'.*'name'.*'none'"
    with pytest.raises(SourceError, match=message):
        list_folder(root, labels=labels)


def test_class_folders_that_are_not_there_are_an_error(tree):
    with pytest.raises(SourceError, match="2 pictures stand in the folder itself and 0"):
        list_folder(tree("cat.1.jpg", "dog.1.jpg"), labels="folder")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode here")
def test_a_class_name_that_is_not_utf8_asks_for_another(tree):
    root = tree("cats/1.jpg")
    folder = os.path.join(os.fsencode(root), b"caf\xe9")
    os.mkdir(folder)
    os.link(root / "cats/1.jpg", os.path.join(folder, b"1.jpg"))
    with pytest.raises(SourceError, match=r"'caf\\xe9' is not UTF-8. Rename"):
        list_folder(root)


# Splits


def test_train_val_and_test_above_the_classes_are_splits(tree):
    root = tree(
        "train/cats/1.jpg", "train/dogs/1.jpg", "Val/cats/2.jpg", "test/dogs/2.jpg", "notes/a.txt"
    )  # fmt: skip
    listing = list_folder(root)
    assert listing.split_names == ("train", "Val", "test")
    assert splits(listing) == ["Val", "test", "train", "train"]
    assert classes(listing) == ["cats", "dogs", "cats", "dogs"]
    assert listing.splits.dtype == np.uint8


def test_flat_splits_take_labels_from_names(tree):
    listing = list_folder(
        tree("train/cat.1.jpg", "train/dog.1.jpg", "test/cat.2.jpg", "test/dog.2.jpg")
    )
    assert listing.labels_from == "name"
    assert (splits(listing), classes(listing)) == (["test"] * 2 + ["train"] * 2, ["cat", "dog"] * 2)


def test_one_split_must_be_train(tree):
    assert list_folder(tree("train/cats/1.jpg")).split_names == ("train",)


def test_one_other_folder_is_a_class(tree):
    listing = list_folder(tree("test/1.jpg"))
    assert (listing.split_names, listing.label_names) == ((), ("test",))


@pytest.mark.parametrize("extra", ["root.jpg", "birds/1.jpg"])
def test_splits_stand_alone_or_are_classes(tree, extra):
    root = tree("train/a/1.jpg", "test/a/2.jpg", extra)
    assert list_folder(root, labels="none").split_names == ()


def test_splits_are_found_whatever_the_labels(tree):
    root = tree("train/a/1.jpg", "test/a/2.jpg")
    for choice in ({"labels": "none"}, {"labels": "name"}, {"label_pattern": r"/(\w+)/"}):
        assert splits(list_folder(root, **choice)) == ["test", "train"]


def test_splits_where_only_some_have_classes_are_refused(tree):
    root = tree("train/cats/1.jpg", "test/1.jpg")
    with pytest.raises(SourceError, match="1 pictures stand in the split folders themselves and 1"):
        list_folder(root)


# Size


def test_listing_costs_less_than_200_bytes_a_file(tmp_path):
    count = 3000
    for i in range(count):
        (tmp_path / f"n{i % 7}.{i:012d}.jpg").touch()
    list_folder(tmp_path)
    tracemalloc.start()
    listing = list_folder(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(listing.label_names) == 7
    assert peak < 200 * count


def test_a_listing_can_be_taken_in_another_order(tree):
    listing = list_folder(tree("train/a/1.jpg", "train/b/22.jpg", "val/a/333.jpg"))
    taken = listing.take([2, 0])
    assert keys(taken) == ["val/a/333.jpg", "train/a/1.jpg"]
    assert (classes(taken), splits(taken)) == (["a", "a"], ["val", "train"])
    assert taken.sizes.tolist() == [13, 13]
    assert len(listing.take([])) == 0
