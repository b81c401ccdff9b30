from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeiro.errors import OptionError
from celeiro.packing.splits import (
    assign_splits,
    check_split_name,
    parse_splits,
    role_of,
    sorted_names,
)

THREE = {"train": 0.8, "val": 0.1, "test": 0.1}

weights = st.lists(st.integers(1, 100), min_size=1, max_size=6)
classes = st.lists(st.integers(-3, 12), max_size=300).map(lambda some: np.array(some, np.int64))


def fractions_of(parts):
    return {f"s{i}": part / sum(parts) for i, part in enumerate(parts)}


def test_a_split_is_read_from_text():
    assert parse_splits("train=0.8,val=0.1,test=0.1") == THREE
    assert list(parse_splits(" b = .5 , a = 5e-1 ")) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not NAME=FRACTION"),
        ("train", "'train' is not NAME=FRACTION"),
        ("train=0.8,val", "'val' is not"),
        ("train=most", "'train=most' is not"),
        ("train=0.8,val=0.1", r"sum to 0\.9\. Wanted: 1"),
        ("train=0.8,val=0.3", r"sum to 1\.1"),
        ("train=1,val=0", r"'val' has the fraction 0\.0"),
        ("train=1.5,val=-0.5", "'train' has the fraction 1.5"),
        ("train=nan", "fraction nan"),
        ("a=0.5,a=0.5", "'a' is there twice"),
        ("a/b=1", "'a/b' cannot be stored"),
        (".=1", "'.' cannot be stored"),
        ("=1", "'' cannot be stored"),
        (",".join(f"s{i}={1 / 256}" for i in range(256)), "256 splits. Wanted: from 1 to 255"),
    ],
)
def test_text_that_is_no_split_is_refused(text, message):
    with pytest.raises(OptionError, match=message):
        parse_splits(text)


def test_names_that_hdf5_takes_are_taken():
    for name in ("train", "treino é", "a.b", "..", "x" * 300):
        check_split_name(name)
    for name in ("a\0b", "\udcff"):
        with pytest.raises(OptionError, match="cannot be stored"):
            check_split_name(name)


def test_255_splits_are_possible():
    codes = assign_splits(None, fractions_of([1] * 255), 0, count=255)
    assert sorted(codes) == list(range(255))


@given(classes, weights, st.integers(0, 2**32))
@settings(max_examples=200)
def test_each_class_is_divided_to_one_picture_and_all_together_nearly_so(labels, parts, seed):
    fractions = fractions_of(parts)
    codes = assign_splits(labels, fractions, seed)
    assert codes.shape == labels.shape
    assert codes.dtype == np.uint8
    exact = np.array(list(fractions.values()))
    for label in np.unique(labels):
        counts = np.bincount(codes[labels == label], minlength=len(parts))
        assert np.abs(counts - exact * counts.sum()).max() < 1 + 1e-6
    counts = np.bincount(codes, minlength=len(parts))
    assert np.abs(counts - exact * len(labels)).max() < 2 + 1e-6


@given(classes, weights, st.integers(0, 2**32))
def test_the_same_seed_draws_the_same(labels, parts, seed):
    fractions = fractions_of(parts)
    first = assign_splits(labels, fractions, seed)
    assert np.array_equal(first, assign_splits(labels.copy(), fractions, seed))


def test_the_draw_never_changes():
    # Files are packed again years later and must come out the same.
    codes = assign_splits(np.arange(12) % 3, {"train": 0.5, "val": 0.5}, 7)
    assert codes.tolist() == [1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 0]


def test_another_seed_draws_otherwise():
    labels = np.arange(200) % 2
    assert (assign_splits(labels, THREE, 0) != assign_splits(labels, THREE, 1)).any()


def test_classes_of_one_picture_do_not_all_go_to_the_largest_split():
    codes = assign_splits(np.arange(100), THREE, 0)
    assert np.bincount(codes).tolist() == [80, 10, 10]


@pytest.mark.parametrize(
    "labels",
    [None, np.linspace(0, 1, 50), np.eye(50, 3, dtype=np.uint8)],
    ids=["none", "float", "multi-hot"],
)
def test_labels_that_are_no_classes_are_drawn_as_one(labels):
    codes = assign_splits(labels, THREE, 3, count=50)
    assert np.bincount(codes).tolist() == [40, 5, 5]
    assert np.array_equal(codes, assign_splits(None, THREE, 3, count=50))


def test_no_samples_are_fine():
    assert len(assign_splits(None, THREE, 0, count=0)) == 0
    assert len(assign_splits(np.array([], np.int64), THREE, 0)) == 0


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(OptionError, match="`count`"):
        assign_splits(None, THREE, 0)
    with pytest.raises(OptionError, match="5 samples with 4 labels"):
        assign_splits(np.arange(4), THREE, 0, count=5)
    with pytest.raises(OptionError, match="seed -1 is negative"):
        assign_splits(None, THREE, -1, count=5)
    with pytest.raises(OptionError, match="sum to"):
        assign_splits(None, {"a": 0.5}, 0, count=5)
    with pytest.raises(OptionError, match="0 splits"):
        assign_splits(None, {}, 0, count=5)


def test_roles_are_known_in_any_case_and_put_in_order():
    assert [role_of(name) for name in ("TRAINING", "Valid", "testing", "cats")] == [
        "train",
        "val",
        "test",
        None,
    ]
    assert sorted_names({"zoo", "test", "Val", "train", "extra"}) == (
        "train",
        "Val",
        "test",
        "extra",
        "zoo",
    )
