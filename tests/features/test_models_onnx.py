"""ONNX files, written here by hand: a message of protobuf is a list of tagged bytes."""

from __future__ import annotations

import hashlib
import logging

import numpy as np
import pytest

from celeiro.errors import ModelError, OptionError
from celeiro.features.models import open_model

pytest.importorskip("onnxruntime")


def number(value):
    low = bytearray()
    while value > 127:
        low.append(value & 127 | 128)
        value >>= 7
    return bytes([*low, value])


def field(tag, value):
    if isinstance(value, int):
        return number(tag << 3) + number(value)
    value = value.encode() if isinstance(value, str) else value
    return number(tag << 3 | 2) + number(len(value)) + value


def value_info(name, shape):
    sides = b"".join(field(1, field(1, s) if isinstance(s, int) else field(2, s)) for s in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, sides)))


def node(kind, given, made, **integers):
    attributes = b"".join(
        field(5, field(1, k) + field(20, 2) + field(3, v)) for k, v in integers.items()
    )
    return b"".join(field(1, g) for g in given) + field(2, made) + field(4, kind) + attributes


def tensor(name, array):
    sides = b"".join(field(1, s) for s in array.shape)
    return sides + field(2, 1) + field(8, name) + field(9, array.astype("<f4").tobytes())


WEIGHTS = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)


def rows_alone(path):
    """A model that takes rows (B, 8)."""
    graph = field(1, node("Flatten", ["x"], "y")) + field(2, "rows")
    graph += field(11, value_info("x", ("B", 8))) + field(12, value_info("y", ("B", 8)))
    path.write_bytes(field(1, 8) + field(8, field(2, 13)) + field(7, graph))
    return path


def tiny(path, *, batch="B", outputs=("maps", "pooled")):
    """A convolution of 3 to 4 channels, and the mean of its maps."""
    nodes = [
        node("Conv", ["x", "w"], "maps"),
        node("GlobalAveragePool", ["maps"], "mean"),
        node("Flatten", ["mean"], "pooled"),
    ]
    shapes = {"maps": (batch, 4, 6, 6), "pooled": (batch, 4)}
    graph = b"".join(field(1, n) for n in nodes) + field(2, "tiny") + field(5, tensor("w", WEIGHTS))
    graph += field(11, value_info("x", (batch, 3, 8, 8)))
    graph += b"".join(field(12, value_info(o, shapes[o])) for o in outputs)
    path.write_bytes(field(1, 8) + field(8, field(2, 13)) + field(7, graph))
    return path


def by_hand(batch):
    """The same in NumPy, of (B, H, W, C)."""
    windows = np.lib.stride_tricks.sliding_window_view(batch.transpose(0, 3, 1, 2), (3, 3), (2, 3))
    return np.einsum("bcyxij,ocij->boyx", windows, WEIGHTS)


@pytest.fixture
def batch():
    return np.random.default_rng(1).random((5, 8, 8, 3)).astype(np.float32)


def chw(batch):
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2))


def test_outputs_are_the_models_own(tmp_path, batch):
    path = tiny(tmp_path / "tiny.onnx")
    model = open_model(f"onnx:{path}", layers=["pooled", "maps"], mean=0.5, std=0.5, threads=1)
    rows = model(chw(batch))
    assert list(rows) == ["pooled", "maps"] == list(model.layers)
    wanted = by_hand(batch).mean((2, 3))
    assert np.allclose(rows["pooled"], wanted, atol=1e-5)
    assert np.allclose(rows["maps"], wanted, atol=1e-5)  # pooled by us
    assert rows["maps"].dtype == np.float32
    again = model(chw(batch))
    assert all(np.array_equal(rows[k], again[k]) for k in rows)
    flat = open_model(f"onnx:{path}", layers="maps", pool="flatten", mean=0.5, std=0.5)
    assert np.allclose(flat(chw(batch))["maps"], by_hand(batch).reshape(5, -1), atol=1e-5)


def test_the_file_is_told_by_its_digest(tmp_path):
    path = tiny(tmp_path / "tiny.onnx", outputs=("pooled",))
    path.with_name("tiny.onnx.data").write_bytes(b"more")
    told = open_model(f"onnx:{path}", mean=0.5, std=0.5, threads=2).told
    assert told["weights"] == {
        "file": "tiny.onnx",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "data": {"tiny.onnx.data": hashlib.sha256(b"more").hexdigest()},
    }
    assert (told["threads"], told["device"], told["outputs"]) == (2, "cpu", ["pooled"])
    assert told["preprocessing"]["size"] == [8, 8]


def test_a_file_for_batches_of_one_size_is_given_such(tmp_path, batch):
    free = open_model(f"onnx:{tiny(tmp_path / 'a.onnx', outputs=('pooled',))}", mean=0.5, std=0.5)
    path = tiny(tmp_path / "b.onnx", batch=2, outputs=("pooled",))
    fixed = open_model(f"onnx:{path}", mean=0.5, std=0.5)
    assert np.allclose(
        fixed(chw(batch))["features"], free(chw(batch))["features"], rtol=1e-6, atol=1e-6
    )


def test_what_the_file_does_not_say_is_said(tmp_path, caplog):
    path = tiny(tmp_path / "tiny.onnx", outputs=("pooled",))
    with caplog.at_level(logging.WARNING):
        open_model(f"onnx:{path}")
    assert "ImageNet" in caplog.text


def test_errors_name_what_there_is(tmp_path, batch):
    path = tiny(tmp_path / "tiny.onnx")
    with pytest.raises(OptionError, match=r"2 outputs.*'maps', 'pooled'"):
        open_model(f"onnx:{path}")
    with pytest.raises(OptionError, match=r"no output of that name; .*'pooled'"):
        open_model(f"onnx:{path}", layers=["pool"])
    with pytest.raises(OptionError, match="takes 8x8 alone"):
        open_model(f"onnx:{path}", layers=["pooled"], size=9)
    with pytest.raises(OptionError, match="brings its own"):
        open_model(f"onnx:{path}", layers=["pooled"], weights="w")
    with pytest.raises(OptionError, match="no such file"):
        open_model(f"onnx:{tmp_path / 'none.onnx'}")
    with pytest.raises(OptionError, match="device 'cuda'"):
        open_model(f"onnx:{path}", device="cuda")
    (tmp_path / "bad.onnx").write_bytes(b"\x07nothing")
    with pytest.raises(ModelError, match="no ONNX file"):
        open_model(f"onnx:{tmp_path / 'bad.onnx'}")
    model = open_model(f"onnx:{path}", layers=["pooled"], mean=0.5, std=0.5)
    with pytest.raises(ModelError, match="wanted \\(B, C, H, W\\)"):
        model(batch)
    with pytest.raises(ModelError, match="wanted one input"):
        open_model(f"onnx:{rows_alone(tmp_path / 'rows.onnx')}")
