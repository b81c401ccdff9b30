"""Any function as a model."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from celeiro.errors import ModelError, OptionError
from celeiro.features.models import open_model

BATCH = np.arange(5 * 4 * 4 * 3, dtype=np.uint8).reshape(5, 4, 4, 3)


def means(batch):
    return batch.mean(axis=(1, 2))


def test_a_function_gives_rows_in_order():
    model = open_model(means)
    assert model.name.startswith("callable ")
    assert model.name.endswith("test_models_function.means")
    assert model.layers == ("features",)
    assert (list(model.transforms), model.told["layers"]) == ([], None)
    assert open_model(means, layers="features").told["layers"] == ["features"]
    rows = model(BATCH)["features"]
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    assert np.array_equal(rows, means(BATCH).astype(np.float32))
    model.close()


def test_names_are_of_what_a_partial_holds_and_of_the_class_of_an_object():
    assert open_model(functools.partial(means)).name.endswith(".means")

    class Caller:
        def __call__(self, batch):
            return means(batch)

    assert open_model(Caller()).name.endswith("Caller")


@pytest.mark.parametrize(
    ("pool", "wanted"), [("model", (5, 3)), ("avg", (5, 3)), ("flatten", (5, 48))]
)
def test_rows_and_columns_become_one_axis(pool, wanted):
    rows = open_model(lambda batch: batch, pool=pool)(BATCH)["features"]
    assert rows.shape == wanted
    flat = BATCH.reshape(5, -1).astype("f4")
    assert np.array_equal(rows, flat if pool == "flatten" else BATCH.astype("f4").mean((1, 2)))


def test_one_number_a_picture_is_a_row_of_one():
    assert open_model(lambda b: b.sum((1, 2, 3)))(BATCH)["features"].shape == (5, 1)


def test_parts_of_a_dict_or_tuple_are_had_by_name():
    def both(batch):
        return {"a": means(batch), "b": (batch, [means(batch) + 1])}

    rows = open_model(both, layers=["b[1][0]", "a"])(BATCH)
    assert list(rows) == ["b[1][0]", "a"]
    assert np.array_equal(rows["b[1][0]"], rows["a"] + 1)
    rows = open_model(lambda b: (means(b), None, b), layers=["0", "[2]"])(BATCH)
    assert np.array_equal(rows["0"], means(BATCH).astype("f4"))


def test_of_several_arrays_the_names_are_listed():
    with pytest.raises(ModelError, match=r"'\[a\]' \(5, 3\), '\[b\]' \(5, 4, 4, 3\)"):
        open_model(lambda b: {"a": means(b), "b": b})(BATCH)
    with pytest.raises(OptionError, match=r"layer 'c': .*'\[a\]'"):
        open_model(lambda b: {"a": means(b), "b": b}, layers=["c"])(BATCH)


def test_one_array_in_a_dict_needs_no_name():
    assert open_model(lambda b: {"only": means(b)})(BATCH)["features"].shape == (5, 3)
    assert open_model(means, layers=["mine"])(BATCH)["mine"].shape == (5, 3)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda b: means(b)[:4], r"shape \(4, 3\) for a batch of 5"),
        (lambda b: np.float32(3), r"shape \(\) for a batch of 5"),
        (lambda b: np.array(["a"] * 5), "wanted numbers"),
        (lambda b: np.zeros((5, 0)), "no values"),
        (lambda b: None, "gave no array but None"),
        (lambda b: 1j * means(b), "array of complex128"),
    ],
)
def test_an_answer_that_is_no_row_a_picture_is_an_error(answer, message):
    with pytest.raises(ModelError, match=message):
        open_model(answer)(BATCH)


def test_numbers_that_are_not_finite_are_for_the_caller_who_knows_what_pictures_were_sound():
    rows = open_model(lambda b: np.array([0, np.nan, 1e300, 1, 2]))(BATCH)["features"]
    assert np.array_equal(rows[:, 0], [0, np.nan, np.inf, 1, 2], equal_nan=True)


def test_a_tensor_is_an_answer_too():
    torch = pytest.importorskip("torch")
    weights = torch.ones(3, requires_grad=True)
    answer = open_model(lambda b: (torch.tensor(means(b)) * weights).to(torch.bfloat16))(BATCH)
    assert np.allclose(answer["features"], means(BATCH), rtol=1e-2)


def test_sizes_and_means_come_to_transforms():
    model = open_model(means, size=8, mean=0.5, std=0.5, color="BGR")
    assert [type(step).__name__ for step in model.transforms] == [
        "Resize", "Swap", "ToFloat", "Normalize",
    ]  # fmt: skip
    assert model.told["preprocessing"]["color"] == "BGR"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "w"}, "brings its own"),
        ({"device": "cpu"}, "Leave both out"),
        ({"threads": 2}, "Leave both out"),
        ({"pool": "max"}, "wanted one of 'model'"),
        ({"threads": 0}, "wanted 1 or more"),
        ({"layers": ["a", "a"]}, "twice"),
    ],
)
def test_options_that_mean_nothing_for_a_function_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        open_model(means, **options)


@pytest.mark.parametrize("name", ["resnet18", "timm:", "hub:resnet18", 3])
def test_a_model_that_is_none_is_refused(name):
    with pytest.raises(OptionError, match="wanted"):
        open_model(name)
