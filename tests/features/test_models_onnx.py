"""ONNX files, written here by hand: a message of protobuf is a list of tagged bytes."""

from __future__ import annotations

import contextlib
import hashlib
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import celeiro
from celeiro.errors import ModelError, OptionError
from celeiro.features.models import open_model
from celeiro.features.models.external import files_beside

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


def value_info(name, shape, kind=1):
    sides = b"".join(field(1, field(1, s) if isinstance(s, int) else field(2, s)) for s in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, sides)))


def node(kind, given, made, **integers):
    attributes = b"".join(
        field(5, field(1, k) + field(20, 2) + field(3, v)) for k, v in integers.items()
    )
    return b"".join(field(1, g) for g in given) + field(2, made) + field(4, kind) + attributes


def tensor(name, array):
    sides = b"".join(field(1, s) for s in array.shape)
    return sides + field(2, 1) + field(8, name) + field(9, array.astype("<f4").tobytes())


def outside(name, array, location):
    """A tensor whose bytes are in another file."""
    sides = b"".join(field(1, s) for s in array.shape)
    entry = field(13, field(1, "location") + field(2, location))
    return sides + field(2, 1) + field(8, name) + entry + field(14, 1)


WEIGHTS = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)


def rows_alone(path):
    """A model that takes rows (B, 8)."""
    graph = field(1, node("Flatten", ["x"], "y")) + field(2, "rows")
    graph += field(11, value_info("x", ("B", 8))) + field(12, value_info("y", ("B", 8)))
    path.write_bytes(field(1, 8) + field(8, field(2, 13)) + field(7, graph))
    return path


def tiny(path, *, batch="B", outputs=("maps", "pooled"), weights=None):
    """A convolution of 3 to 4 channels, and the mean of its maps."""
    weights = tensor("w", WEIGHTS) if weights is None else weights
    nodes = [
        node("Conv", ["x", "w"], "maps"),
        node("GlobalAveragePool", ["maps"], "mean"),
        node("Flatten", ["mean"], "pooled"),
    ]
    shapes = {"maps": (batch, 4, 6, 6), "pooled": (batch, 4)}
    graph = b"".join(field(1, n) for n in nodes) + field(2, "tiny") + field(5, weights)
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


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_the_file_is_told_by_its_digest(tmp_path):
    path = tiny(tmp_path / "tiny.onnx", outputs=("pooled",))
    told = open_model(f"onnx:{path}", mean=0.5, std=0.5, threads=2).told
    assert told["weights"] == {"file": "tiny.onnx", "sha256": sha256(path.read_bytes())}
    assert (told["threads"], told["device"], told["outputs"]) == (2, "cpu", ["pooled"])
    assert told["preprocessing"]["size"] == [8, 8]


def test_tensors_in_other_files_are_told_by_their_digests(tmp_path, batch):
    inside = open_model(
        f"onnx:{tiny(tmp_path / 'in.onnx', outputs=('pooled',))}", mean=0.5, std=0.5
    )
    path = tiny(
        tmp_path / "out.onnx", outputs=("pooled",), weights=outside("w", WEIGHTS, "sub/w.bin")
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(WEIGHTS.astype("<f4").tobytes())
    (tmp_path / "out.onnx.data").write_bytes(b"of somebody else")
    model = open_model(f"onnx:{path}", mean=0.5, std=0.5)
    rows = model(chw(batch))["features"]
    assert np.array_equal(rows, inside(chw(batch))["features"])
    assert model.told["weights"] == {
        "file": "out.onnx", "sha256": sha256(path.read_bytes()),
        "data": {"sub/w.bin": sha256(WEIGHTS.astype("<f4").tobytes())},
    }  # fmt: skip


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd", "../w.bin", "sub/../../w.bin", "C:\\w.bin", "..\\w.bin", "\\\\host\\w", "",
        "a\0b",
    ],
)  # fmt: skip
def test_tensors_elsewhere_are_refused(tmp_path, location):
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
    (tmp_path / "in" / "sub").mkdir(parents=True)
    path = tiny(tmp_path / "in" / "x.onnx", weights=outside("w", WEIGHTS, location))
    with pytest.raises(ModelError, match="wanted a file in its own folder"):
        open_model(f"onnx:{path}", layers=["pooled"])


def test_tensors_that_are_missing_are_named(tmp_path):
    path = tiny(tmp_path / "x.onnx", weights=outside("w", WEIGHTS, "w.bin"))
    with pytest.raises(ModelError, match=r"keeps tensors in 'w\.bin'.*is no file"):
        open_model(f"onnx:{path}", layers=["pooled"])


def test_every_place_of_a_tensor_is_looked_at(tmp_path):
    there = {}

    def place(name):
        (tmp_path / name).write_bytes(b"")
        there[name] = tmp_path / name
        return outside("w", WEIGHTS, name)

    sparse = field(15, field(1, place("sparse")))
    attribute = field(5, field(1, "then") + field(5, place("attribute")))
    attribute += field(5, field(6, field(5, place("subgraph"))))
    attribute += field(5, field(10, place("several")) + field(11, field(5, place("graphs"))))
    graph = field(5, place("initializer")) + sparse + field(1, attribute)
    model = field(1, 8) + field(7, graph) + field(25, field(7, field(5, field(5, place("body")))))
    model += field(20, field(1, field(5, place("training"))))
    (tmp_path / "x.onnx").write_bytes(model)
    assert files_beside(tmp_path / "x.onnx") == sorted(there.values())


@given(st.binary(max_size=60))
def test_any_bytes_are_a_file_or_an_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(field(7, data))
    with contextlib.suppress(ModelError):
        files_beside(path)


def test_graphs_within_each_other_without_end_are_refused(tmp_path):
    data = b""
    for _ in range(2000):
        data = field(1, field(5, field(6, data)))
    (tmp_path / "x.onnx").write_bytes(field(7, data))
    with pytest.raises(ModelError, match="without end"):
        files_beside(tmp_path / "x.onnx")


def test_what_onnx_saves_is_read(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny(tmp_path / "a.onnx"))
    onnx.save_model(
        model, tmp_path / "b.onnx", save_as_external_data=True, location="b.weights",
        size_threshold=0,
    )  # fmt: skip
    assert files_beside(tmp_path / "b.onnx") == [tmp_path / "b.weights"]
    told = open_model(f"onnx:{tmp_path / 'b.onnx'}", layers=["pooled"]).told["weights"]
    assert told["data"] == {"b.weights": sha256((tmp_path / "b.weights").read_bytes())}


# Models that take whole numbers

UINT8, INT32, INT64, INT8 = 2, 6, 7, 3


def pixels(path, kind, *, shape=("B", 8, 8, 3)):
    """A model that gives the pixels that it was given, as floats."""
    graph = field(1, node("Cast", ["x"], "floats", to=1)) + field(
        1, node("Flatten", ["floats"], "y")
    )
    graph += field(2, "pixels") + field(11, value_info("x", shape, kind))
    graph += field(12, value_info("y", ("B", 192)))
    path.write_bytes(field(1, 8) + field(8, field(2, 13)) + field(7, graph))
    return path


@pytest.mark.parametrize("kind", [UINT8, INT32, INT64])
@pytest.mark.parametrize("store", ["uint8", "uint16", "float32"])
def test_a_model_of_whole_numbers_is_given_the_pixels(tmp_path, kind, store):
    # All values, in pictures of one colour, which resizing leaves as they are.
    colours = np.random.default_rng(0).permutation(256)[:255].reshape(85, 1, 1, 3)
    images = np.broadcast_to(colours, (85, 8, 8, 3))
    stored = {"uint8": images, "uint16": images * 257, "float32": images / 255}[store]
    celeiro.pack(stored.astype(store), tmp_path / "in.h5")
    path = pixels(tmp_path / "pixels.onnx", kind)
    report = celeiro.extract_features(tmp_path / "in.h5", f"onnx:{path}", tmp_path / "out.h5")
    with celeiro.open(report.path) as made:
        assert np.array_equal(made.read(range(85)), images.reshape(85, -1))
        assert made.provenance["features"]["preprocessing"]["mean"] == []


def test_what_resizing_makes_of_pixels_is_rounded_and_within_bounds(tmp_path):
    edge = np.zeros((1, 5, 5, 3), np.float32)
    edge[:, 2:] = 1  # bicubic goes beyond both
    celeiro.pack(edge, tmp_path / "in.h5")
    path = pixels(tmp_path / "pixels.onnx", UINT8)
    report = celeiro.extract_features(
        tmp_path / "in.h5", f"onnx:{path}", tmp_path / "out.h5", interpolation="bicubic"
    )
    with celeiro.open(report.path) as made:
        rows = made[0][0].reshape(8, 8, 3)
    assert rows.min() == 0
    assert rows.max() == 255
    assert (np.diff(rows[:, 0, 0]) >= 0).all()  # nothing came round from the other end


def test_between_two_numbers_the_nearer_one_is_taken(tmp_path):
    model = open_model(f"onnx:{pixels(tmp_path / 'pixels.onnx', UINT8)}")
    given = np.full((1, 8, 8, 3), 7.6, np.float32)
    given[0, 0, 0] = -20, 300, 254.7
    rows = model(given)["features"][0]
    assert rows[:4].tolist() == [0, 255, 255, 8]


def test_mean_and_std_of_whole_numbers_are_refused(tmp_path):
    path = pixels(tmp_path / "pixels.onnx", UINT8)
    with pytest.raises(OptionError, match=r"mean=0\.5, std=0\.5: .* takes pixels of uint8"):
        open_model(f"onnx:{path}", mean=0.5, std=0.5)
    with pytest.raises(ModelError, match="of floats, or of pixels of 0-255"):
        open_model(f"onnx:{pixels(tmp_path / 'b.onnx', INT8)}")


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
