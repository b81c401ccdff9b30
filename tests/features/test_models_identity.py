"""What is known of a function without calling it."""

from __future__ import annotations

import collections
import functools
import math
import threading
from dataclasses import dataclass

import numpy as np
import pytest

from celeiro.features.models.identity import deciding, identify, of_step
from celeiro.feeding.transforms import CenterCrop, Normalize, OnBatch


def told(function):
    found = identify(function)
    assert not found.unknown
    assert found.told.startswith("sha256 ")
    return found.told


def built(source, **names):
    """A function of this source, as another run has it."""
    exec(source, names)
    return names["f"]


PLAIN = "def f(batch, k=1):\n    return batch.mean(axis=(1, 2)) * k\n"


def test_the_same_source_is_the_same_wherever_it_stands():
    one, other = built(PLAIN), built("\n\n# further down\n" + PLAIN)
    assert told(one) == told(other)
    for _ in range(200):  # CPython rewrites code that runs often
        one(np.ones((1, 2, 2, 3)))
    assert told(one) == told(other)


@pytest.mark.parametrize(
    "source",
    [
        PLAIN.replace("mean", "max"), PLAIN.replace("(1, 2)", "(1, 3)"),
        PLAIN.replace("k=1", "k=2"),
        PLAIN.replace("* k", "/ k"), PLAIN.replace("k=1", "*, k=1"),
        PLAIN.replace("k=1", "k=1.0"), PLAIN.replace("k=1", "k=True"),
    ],
)  # fmt: skip
def test_other_code_is_another(source):
    assert told(built(source)) != told(built(PLAIN))


def test_code_within_counts():
    inner = "def f(b):\n    def g(x):\n        return [y + {} for y in x]\n    return g(b)\n"
    assert told(built(inner.format(1))) == told(built(inner.format(1)))
    assert told(built(inner.format(1))) != told(built(inner.format(2)))


def test_two_lambdas_are_two():
    one = lambda batch: batch.mean(axis=(1, 2))  # noqa: E731
    two = lambda batch: batch.mean(axis=(1, 2))  # noqa: E731
    assert told(one) == told(one)
    assert told(one) != told(two)
    assert told(lambda b: b.max((1, 2))) != told(lambda b: b.min((1, 2)))


def closing(value):
    def f(batch):
        return batch, value

    return f


A = np.arange(6.0)


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (3, 3, 4), (0.0, 0.0, -0.0), (math.nan, math.nan, 1.0), ("a", "a", b"a"), (1, 1, True),
        ((1, (2,)), (1, (2,)), ((1, 2),)), ([1, 2], [1, 2], (1, 2)), ({"a": 1}, {"a": 1}, {"a": 2}),
        ({"a", "b", "c"}, {"c", "b", "a"}, {"a", "b"}), (A, A.copy(), A[::-1]),
        (A, A[::1], A.reshape(2, 3)), (A, A, A.astype("f4")), (np.float32(1), np.float32(1), 1.0),
        (np, np, math), (math.sqrt, math.sqrt, math.exp), (np.mean, np.mean, np.median),
        (np.add, np.add, np.subtract), (np.float32, np.float32, np.float64), (int, int, float),
        (closing(1), closing(1), closing(2)), (slice(1, 2), slice(1, 2), slice(1, 3)),
        (np.dtype("f4"), np.dtype("f4"), np.dtype("f8")), (None, None, ...),
    ],
)  # fmt: skip
def test_what_it_holds_counts(one, same, other):
    for hold in (closing, lambda value: functools.partial(closing, value), defaulting):
        assert told(hold(one)) == told(hold(same))
        assert told(hold(one)) != told(hold(other))


def defaulting(value):
    def f(batch, *, k=value):
        return batch, k

    return f


def test_a_function_that_calls_itself_has_an_end():
    def make(step):
        def f(n):
            return n and f(n - step)

        return f

    assert told(make(1)) == told(make(1))
    assert told(make(1)) != told(make(2))


class Caller:
    def __call__(self, batch):
        return batch

    def method(self, batch):
        return batch


@dataclass(frozen=True)
class Gamma:
    by: float

    def __call__(self, image):
        return image**self.by


ENDLESS: list = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (Caller(), "an object of .*Caller"), (Caller().method, "a method of an object of .*Caller"),
        (closing(threading.Lock()), "an object of _thread"), (Gamma(2), "an object of .*Gamma"),
        (closing(np.array([object()])), "an object of numpy.ndarray"), (closing(ENDLESS), "itself"),
        (closing(np.ma.array([1], mask=[True])), "an object of numpy.ma"),
        (closing(collections.OrderedDict()), "OrderedDict"), (closing({Caller()}), "Caller"),
        (functools.partial(Caller()), "Caller"), (functools.lru_cache(closing), "lru_cache"),
        ("".join, "a method of an object of builtins.str|an object of builtins.builtin"),
    ],
)  # fmt: skip
def test_what_cannot_be_known_says_why(function, why):
    found = identify(function)
    assert found.told.startswith("unknown (")
    assert "0x" not in found.told
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(found.unknown)


def test_a_cell_that_is_empty_yet_is_something_too():
    def f():
        return later

    assert told(f)
    later = 1
    assert told(f)


def halved(image):
    return image // 2


def test_transforms_are_told_with_their_numbers_or_their_code():
    assert of_step(CenterCrop(20)).told == "CenterCrop(size=20)"
    found = of_step(halved)
    assert found.told == f"{found.name} ({told(halved)})"
    assert found.name.endswith("test_models_identity.halved")
    gamma = of_step(Gamma(2.0))
    assert gamma.told == f"{gamma.name} (unknown (an object of {gamma.name}))"
    assert gamma.unknown


def test_numbers_of_a_transform_are_told_to_the_last():
    many = np.arange(2000) / 7
    one = of_step(Normalize(many, many + 1)).told
    many[1000] += 1e-12
    assert of_step(Normalize(many, many + 1)).told != one


def test_a_function_in_a_transform_is_told_by_its_code():
    one = OnBatch(halved)
    assert of_step(one).told == of_step(OnBatch(halved)).told
    assert of_step(one).told != of_step(OnBatch(lambda b: b)).told
    assert "0x" not in of_step(one).name
    assert of_step(OnBatch(Caller())).unknown


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"file": "a", "sha256": "1"}, {"file": "b", "sha256": "1"}, True),
        ({"file": "a", "sha256": "1"}, {"file": "a", "sha256": "2"}, False),
        ({"name": "V1", "state_sha256": "1"}, {"random": 3, "state_sha256": "1"}, True),
        ({"sha256": "1", "data": {"x": "1"}}, {"sha256": "1", "data": {"x": "2"}}, False),
        ("ab", "cd", False),
    ],
)
def test_of_weights_the_digest_decides(one, other, same):
    found = [deciding({"model": "timm:x", "weights": weights}) for weights in (one, other)]
    assert (found[0] == found[1]) == same


def test_of_a_file_that_is_the_model_the_digest_decides():
    weights = {"file": "a.onnx", "sha256": "1"}
    found = [deciding({"model": f"onnx:{name}", "weights": weights}) for name in ("a", "b")]
    assert found[0] == found[1]
    assert deciding({"model": "timm:a", "weights": weights})["model"] == "timm:a"
