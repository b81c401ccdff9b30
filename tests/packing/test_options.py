"""Options: every choice is checked once, and a wrong one says what to do instead."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from celeiro.errors import OptionError
from celeiro.packing.options import PackOptions, parse_size, parse_split


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256x320", (256, 320)),
        ("256X320", (256, 320)),
        ("256×320", (256, 320)),
        (" 7 ", (7, 7)),
        (224, (224, 224)),
        ((3, 4), (3, 4)),
        ([3, 4], (3, 4)),
        ((np.int64(3), np.uint8(4)), (3, 4)),
        (np.int32(5), (5, 5)),
    ],
)
def test_a_size_is_height_first(text: Any, size: tuple[int, int]) -> None:
    found = parse_size(text)
    assert found == size
    assert all(type(side) is int for side in found)


@pytest.mark.parametrize(
    "text",
    ["", "x", "3x", "x3", "-1", "1.5", "3x4x5", "3 x 4 x", (1, 2, 3), (), 2.5, (1.5, 2), "٣a"],
)
def test_what_is_no_size_is_refused_with_what_was_found(text: Any) -> None:
    with pytest.raises(OptionError, match="wanted HEIGHTxWIDTH") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


def test_splits_come_as_text_or_mapping() -> None:
    assert parse_split("train=0.8,val=0.2") == {"train": 0.8, "val": 0.2}
    assert parse_split({"a": 1.0}) == {"a": 1.0}
    assert parse_split(None) == parse_split("") == parse_split({}) == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"store": "zip"}, r"store 'zip': wanted one of 'pixels', 'jpeg', 'lossless', 'encoded'"),
        ({"resize": "squash"}, "resize 'squash'"),
        ({"color": "CMYK"}, "color 'CMYK': wanted one of 'RGB', 'BGR', 'GRAY'"),
        ({"subsampling": "411"}, "subsampling '411'"),
        ({"compressor": "lz4"}, "compressor 'lz4'"),
        ({"check": "all"}, "check 'all'"),
        ({"quality": 0}, "quality 0: wanted a whole number from 1 to 100"),
        ({"quality": 101}, "quality 101"),
        ({"quality": 90.0}, "quality 90.0"),
        ({"quality": True}, "quality True"),
        ({"max_pixels": 0}, "max_pixels 0"),
        ({"seed": -1}, "seed -1"),
        ({"size": (0, 5)}, "size 0"),
        ({"size": (5, 70_000)}, "size 70000"),
        ({"max_side": 0, "store": "encoded"}, "max_side 0"),
        ({"max_side": 9}, "--max-side goes with --store encoded, not with 'pixels'"),
        ({"store": "encoded", "size": (5, 5)}, "--size cannot apply.*--store jpeg.*--max-side"),
        ({"store": "encoded", "color": "GRAY"}, "the colour order 'GRAY' cannot apply"),
        ({"store": "jpeg", "color": "BGR"}, "store 'jpeg' has no BGR"),
        ({"key": "labels"}, "data key 'labels' is a name of the format itself"),
        ({"key": ""}, "data key ''"),
        ({"key": "a/b"}, "data key 'a/b'"),
        ({"key": ".stand_in"}, "data key '.stand_in'"),
        ({"split": {"a": 0.5}}, "sum to 0.5"),
        ({"split": {"a": 0.0, "b": 1.0}}, "'a' has the fraction 0"),
        ({"split": {"a/b": 1.0}}, "'a/b' cannot be stored"),
        ({"split": {"a": -1.0, "b": 2.0}}, "fraction"),
    ],
)
def test_a_wrong_choice_is_refused_with_what_was_found(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PackOptions(**{"store": "pixels", **wrong})


def test_options_are_json_that_compares_equal_to_itself() -> None:
    options = PackOptions("jpeg", size=(5, 6), split={"a": 0.3, "b": 0.7}, seed=2**63 - 1)
    text = json.dumps(options.to_json())
    assert json.loads(text) == json.loads(json.dumps(PackOptions(
        "jpeg", size=(5, 6), split={"a": 0.3, "b": 0.7}, seed=2**63 - 1
    ).to_json()))  # fmt: skip
    assert json.loads(text)["size"] == [5, 6]


def test_scalars_of_numpy_are_numbers_and_can_be_kept_as_json() -> None:
    split = parse_split({"a": np.float32(0.75), "b": np.float64(0.25)})
    options = PackOptions("jpeg", size=(8, 8), split=split, seed=np.int64(7), quality=np.uint8(90))
    assert json.loads(json.dumps(options.to_json())) == options.to_json() | {"size": [8, 8]}
    assert options == PackOptions("jpeg", size=(8, 8), split={"a": 0.75, "b": 0.25}, seed=7)
    with pytest.raises(OptionError, match="seed 1.5"):
        PackOptions("pixels", seed=np.float64(1.5))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="seed True"):
        PackOptions("pixels", seed=np.bool_(True))  # type: ignore[arg-type]
