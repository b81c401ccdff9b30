"""`describe`: ours in full, anybody's as far as it goes, and no file that it can be hurt by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

import celeiro
from celeiro.errors import FormatError
from celeiro.format import layout
from celeiro.reading.info import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import PhotoFolder

STORES: dict[str, dict[str, Any]] = {
    "pixels": {"store": "pixels", "size": (20, 28)},
    "jpeg": {"store": "jpeg", "size": (20, 28)},
    "lossless": {"store": "lossless", "size": (20, 28)},
    "encoded": {"store": "encoded"},
}


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[..., Path]:
    """Make a file of somebody else's, by a function that fills it."""

    def make(fill: Callable[[h5py.File], object], **options: Any) -> Path:
        path = tmp_path / "foreign.h5"
        with h5py.File(path, "w", **options) as file:
            fill(file)
        return path

    return make


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a small file of ours."""
    path = tmp_path_factory.mktemp("whole") / "ours.h5"
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
    celeiro.pack(images, path, labels=["cat", "dog", "cat"] * 2)
    return path.read_bytes()


@pytest.fixture
def ours(tmp_path: Path, whole: bytes) -> Path:
    """A small file of ours, to be damaged."""
    path = tmp_path / "ours.h5"
    path.write_bytes(whole)
    return path


# Our own files


@pytest.mark.parametrize("name", STORES)
def test_it_agrees_with_the_report_of_packing(
    name: str, photo_folder: PhotoFolder, tmp_path: Path
) -> None:
    path = tmp_path / "out.h5"
    split = {"train": 0.75, "val": 0.25}
    report = celeiro.pack(photo_folder(8), path, split=split, **STORES[name])
    told = describe(path)
    for equal in ("store", "samples", "dtype", "classes", "splits", "file_bytes"):
        assert told[equal] == getattr(report, equal), equal
    assert told["source_bytes"] == report.source_bytes
    assert told["raw_bytes"] == report.raw_bytes
    shape = (None, None, 3) if report.shape is None else report.shape
    assert told["shape"] == [8, *shape]
    assert told["path"] == str(path)
    assert told["provenance"]["options"]["store"] == report.store
    data = next(d for d in told["data_sets"] if d["name"] == "imagens")
    assert data["stored_bytes"] == report.payload_bytes


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0, 1, 1, 0], ["cat", "dog"]),
        ([0, 1, 1, 0], ["cat", "dog", "fox"]),
        (["b", "a", "b", "b"], None),
        ([7, -7, 7, 7], None),
        ([0.5, 1.5, 2.5, 3.5], None),
        ([[1, 0], [1, 1], [0, 0], [1, 0]], ["sea", "sky"]),
        (None, None),
    ],
)
def test_classes_agree_with_the_report_of_packing(labels: Any, names: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    images = np.zeros((4, 2, 2, 3), np.uint8)
    report = celeiro.pack(images, path, labels=labels, label_names=names)
    assert describe(path)["classes"] == report.classes


def test_it_tells_mean_deviation_and_colours(ours: Path) -> None:
    told = describe(ours)
    with h5py.File(ours) as file:
        values = file["imagens"][:].astype(float)
    assert told["mean"] == pytest.approx(values.mean(axis=(0, 1, 2)))
    assert told["std"] == pytest.approx(values.std(axis=(0, 1, 2)))
    assert told["color"] == "RGB"
    assert told["celeiro_format"] == 1


def test_it_names_fields_without_what_only_describes_them(
    photo_folder: PhotoFolder, tmp_path: Path
) -> None:
    root = photo_folder(3)
    rows = [
        {"path": f"{('cat', 'dog')[i % 2]}.{i}.jpg", "tags": [i] * i, "boxes": [], "age": i}
        for i in range(3)
    ]
    (root / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    celeiro.pack(root / "m.jsonl", tmp_path / "out.h5")
    assert describe(tmp_path / "out.h5")["fields"] == ["age", "boxes", "tags"]


def test_it_is_json(ours: Path) -> None:
    told = describe(str(ours))
    assert json.loads(json.dumps(told)) == told


def test_a_file_that_this_process_has_open_can_be_described(ours: Path) -> None:
    with h5py.File(ours):
        assert describe(ours)["samples"] == 6
    with h5py.File(ours, locking=False):
        assert describe(ours)["samples"] == 6


def test_nothing_is_written_and_the_file_is_closed(ours: Path) -> None:
    before = ours.read_bytes()
    describe(ours)
    assert ours.read_bytes() == before
    ours.rename(ours.with_suffix(".moved"))  # Windows refuses this for open files


# Files of others


def test_a_file_of_the_book(foreign: Callable[..., Path]) -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset("images", (10, 8, 8, 3), "float")[:] = 1
        file.create_dataset("labels", (10,), "int")[:] = [0, 1] * 5
        names = file.create_dataset("label_names", (2,), h5py.special_dtype(vlen=str))
        names[:] = ["cat", "dog"]

    told = describe(foreign(fill))
    assert told["celeiro_format"] is None
    assert (told["key"], told["samples"], told["dtype"]) == ("images", 10, "float64")
    assert told["shape"] == [10, 8, 8, 3]
    assert told["raw_bytes"] == 10 * 8 * 8 * 3 * 8
    assert told["classes"] == {"0": 5, "1": 5}
    assert [d["name"] for d in told["data_sets"]] == ["images", "label_names", "labels"]


def test_a_file_of_patches_in_chunks(foreign: Callable[..., Path]) -> None:
    def fill(file: h5py.File) -> None:
        kind: dict[str, Any] = {"dtype": "u1", "chunks": (1, 9, 9, 3), "compression": "gzip"}
        file.create_dataset("x", (7, 9, 9, 3), **kind)[:] = 7

    told = describe(foreign(fill))
    assert (told["key"], told["samples"], told["shape"]) == ("x", 7, [7, 9, 9, 3])
    assert told["data_sets"][0]["chunks"] == [1, 9, 9, 3]
    assert told["data_sets"][0]["filters"] == [1]
    assert 0 < told["data_sets"][0]["stored_bytes"] < told["raw_bytes"]


def test_a_file_of_weights_in_nested_groups(foreign: Callable[..., Path]) -> None:
    def fill(file: h5py.File) -> None:
        for layer in ("conv", "dense"):
            group = file.create_group(f"model_weights/{layer}/{layer}_1")
            group["kernel:0"] = np.ones((3, 4), np.float32)
            group["bias:0"] = np.ones(4, np.float32)
        file.attrs["keras_version"] = "3.0"

    told = describe(foreign(fill))
    names = [d["name"] for d in told["data_sets"]]
    assert len(names) == 4
    assert "model_weights/conv/conv_1/kernel:0" in names


def test_every_kind_of_data_set_is_listed(foreign: Callable[..., Path]) -> None:
    def fill(file: h5py.File) -> None:
        file["scalar"] = 1.5
        file["nothing"] = h5py.Empty("f4")
        file["texts"] = np.array([b"a", b"bc"])
        file["records"] = np.zeros(3, [("a", "i4"), ("b", "f8", 2)])
        file["kind"] = np.dtype("f4")
        file["pointer"] = np.array([file["scalar"].ref], h5py.ref_dtype)
        file.create_dataset("ragged", (2,), h5py.vlen_dtype("i4"))
        space = h5s.create_simple((2,))
        h5d.create(file.id, b"time", h5t.UNIX_D32LE, space)  # NumPy has no such type

    told = describe(foreign(fill))
    shapes = {d["name"]: d["shape"] for d in told["data_sets"]}
    assert shapes == {
        "nothing": [], "pointer": [1], "ragged": [2], "records": [3], "scalar": [],
        "texts": [2], "time": [2],
    }  # fmt: skip
    json.dumps(told)


def test_an_empty_file(foreign: Callable[..., Path]) -> None:
    told = describe(foreign(lambda file: None))
    assert (told["samples"], told["data_sets"]) == (0, [])


def test_names_that_are_not_utf8_can_be_printed(foreign: Callable[..., Path]) -> None:
    told = describe(foreign(lambda file: file.create_dataset(b"caf\xe9", data=[1])))
    assert told["key"] == "caf\\xe9"
    json.dumps(told, ensure_ascii=False).encode()


# No HDF5 file, or half of one


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path, what in ((tmp_path / "none.h5", "no such file"), (tmp_path, "this is a folder")):
        with pytest.raises(FormatError, match=what):
            describe(path)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0 a JPEG", b"\x89HDF", bytes(5000)])
def test_a_file_that_is_not_hdf5(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    path.write_bytes(data)
    with pytest.raises(FormatError, match="no HDF5 file; it begins with") as caught:
        describe(path)
    assert repr(data[:8]) in str(caught.value)


def test_a_file_that_is_cut_short(ours: Path, whole: bytes) -> None:
    for length in range(8, len(whole), 97):
        ours.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="damaged"):
            describe(ours)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read(ours: Path) -> None:
    ours.chmod(0)
    with pytest.raises(FormatError, match="cannot be read"):
        describe(ours)


FLIP = """
import sys
from celeiro.errors import FormatError
from celeiro.reading.info import describe
path, whole = sys.argv[1], open(sys.argv[1], "rb").read()
places = [at for at in range(len(whole)) if not 4096 <= at < 4096 + 360]
errors = 0
for at in places[:: len(places) // 150]:
    data = bytearray(whole)
    data[at] ^= 0x41
    with open(path, "wb") as file:
        file.write(data)
    try:
        describe(path)
    except FormatError:
        errors += 1
print(errors)
"""


def test_flipped_bytes_are_survived(ours: Path) -> None:
    # In a process of its own: what is tested is that nothing ends it.
    done = subprocess.run(
        [sys.executable, "-c", FLIP, str(ours)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 10


# Ours, but not as they should be


def set_attribute(name: str, value: Any, **options: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file.attrs[name]
        if isinstance(value, str) and not options:  # of fixed length, as the format has it
            text = value.encode("utf-8", "surrogateescape")
            file.attrs.create(name, np.array(text, f"S{max(1, len(text))}"))
        elif value is not None:
            file.attrs.create(name, value, **options)

    return change


def replaced(name: str, *args: Any, **options: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, *args, **options)

    change.__name__ = " ".join(map(str, (name, *args, *options)))  # pytest shows it
    return change


def change(path: Path, *changes: Callable[[h5py.File], object]) -> None:
    with h5py.File(path, "r+") as file:
        for each in changes:
            each(file)


@pytest.mark.parametrize("version", [0, 2, 99, -1])
def test_another_version_is_refused(ours: Path, version: int) -> None:
    change(ours, set_attribute(layout.ATTR_VERSION, version))
    with pytest.raises(FormatError, match=f"format version {version}, .* Upgrade celeiro"):
        describe(ours)


@pytest.mark.parametrize("value", ["1", 1.0, [1], True, list(range(1000))], ids=repr)
def test_a_version_that_is_no_number_is_refused(ours: Path, value: Any) -> None:
    change(ours, set_attribute(layout.ATTR_VERSION, value))
    with pytest.raises(FormatError, match="wanted a number"):
        describe(ours)


@pytest.mark.parametrize("name", [layout.ATTR_STORE, layout.ATTR_KEY, layout.ATTR_COLOR])
@pytest.mark.parametrize("value", [None, 7, ["pixels"], h5py.Empty("S6"), np.void(b"pixels")])
def test_an_attribute_that_is_no_text_is_refused(ours: Path, name: str, value: Any) -> None:
    change(ours, set_attribute(name, value))
    with pytest.raises(FormatError, match="wanted text"):
        describe(ours)


def test_texts_of_variable_length_are_not_read(ours: Path) -> None:
    # HDF5 takes whatever length the file claims for one, up to 4 GiB, and can be sent in circles.
    change(ours, set_attribute(layout.ATTR_STORE, "pixels", dtype=h5py.string_dtype()))
    with pytest.raises(FormatError, match="wanted text"):
        describe(ours)


@pytest.mark.parametrize("store", ["", "zarr", "PIXELS", "é" * 2000])
def test_an_unknown_store_is_refused(ours: Path, store: str) -> None:
    change(ours, set_attribute(layout.ATTR_STORE, store))
    with pytest.raises(FormatError, match="Upgrade celeiro"):
        describe(ours)


@pytest.mark.parametrize("key", ["", "none", "labels", "celeiro/crc32c", ".", "../x", "/imagens"])
def test_a_data_key_that_leads_elsewhere_is_refused(ours: Path, key: str) -> None:
    change(ours, set_attribute(layout.ATTR_KEY, key))
    with pytest.raises(FormatError, match="data key|which is not there"):
        describe(ours)


@pytest.mark.parametrize(
    "offsets", [None, (), (0,), (2, 2)], ids=["none", "a number", "empty", "a table"]
)
def test_encoded_samples_without_offsets_are_refused(ours: Path, offsets: Any) -> None:
    change(ours, set_attribute(layout.ATTR_STORE, "encoded"))
    if offsets is not None:
        change(ours, replaced("imagens_offsets", offsets, "u8"))
    with pytest.raises(FormatError, match="'imagens_offsets' is not there"):
        describe(ours)


@pytest.mark.parametrize("value", [3, h5py.Empty("u1")], ids=["a number", "nothing"])
def test_samples_without_an_axis_are_refused(ours: Path, value: Any) -> None:
    change(ours, replaced("imagens", data=value))
    with pytest.raises(FormatError, match="no axis of samples"):
        describe(ours)


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[1, 2]", "7", "null", "[" * 50_000, '{"a":', "9" * 5000, "\ud800"],
    ids=range(9),
)
def test_a_provenance_that_is_no_table_is_left_out(ours: Path, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    change(ours, set_attribute(layout.ATTR_PROVENANCE, np.bytes_(data)))
    told = describe(ours)
    assert told["provenance"] == {}
    assert told["source_bytes"] is None


def test_a_provenance_of_other_types_does_not_reach_whoever_prints_it(ours: Path) -> None:
    text = json.dumps({"options": [1], "made_by": "me", "source_bytes": "many", "refused": 2})
    change(ours, set_attribute(layout.ATTR_PROVENANCE, np.bytes_(text.encode())))
    told = describe(ours)
    assert told["provenance"] == {"source_bytes": "many", "refused": 2}
    assert told["source_bytes"] is None


@pytest.mark.parametrize("size", [60_000, 1_000_000, 3_000_000])
def test_a_long_provenance_is_read_or_refused(ours: Path, size: int) -> None:
    text = json.dumps({"x": "y" * size})
    with h5py.File(ours, "r+", libver="v110") as file:
        del file.attrs[layout.ATTR_PROVENANCE]
        file.attrs.create(layout.ATTR_PROVENANCE, np.bytes_(text.encode()))
    if size < 1 << 20:
        assert len(describe(ours)["provenance"]["x"]) == size
    else:
        with pytest.raises(FormatError, match="wanted text"):
            describe(ours)


# Labels and the like that promise what they do not hold


def bogus_filter(file: h5py.File) -> None:
    """Labels in chunks under a filter that nobody has."""
    del file["labels"]
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_chunk((6,))
    plist.set_filter(511, h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
    made = h5d.create(file.id, b"labels", h5t.STD_I64LE, h5s.create_simple((6,)), plist)
    made.write_direct_chunk((0,), b"garbage")


def outside(file: h5py.File) -> None:
    """Labels whose bytes are another file's."""
    del file["labels"]
    secret = Path(file.filename).with_name("secret")
    secret.write_bytes(bytes(48))
    file.create_dataset("labels", (6,), "i8", external=[(str(secret), 0, 48)])


def virtual(file: h5py.File) -> None:
    """Labels made up of another file's."""
    del file["labels"]
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["x"] = np.zeros(6, np.int64)
    made = h5py.VirtualLayout((6,), "i8")
    made[:] = h5py.VirtualSource("other.h5", "x", (6,))
    file.create_virtual_dataset("labels", made)


def external_link(file: h5py.File) -> None:
    """Labels that are another file's."""
    del file["labels"]
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["labels"] = np.zeros(6, np.int64)
    file["labels"] = h5py.ExternalLink("other.h5", "labels")


def soft_link(file: h5py.File) -> None:
    """Labels that are themselves."""
    del file["labels"]
    file["labels"] = h5py.SoftLink("/labels")


@pytest.mark.parametrize(
    "damage",
    [
        bogus_filter,
        outside,
        virtual,
        external_link,
        soft_link,
        replaced("labels", (6, 6, 6), "i8"),
        replaced("labels", (), "i8"),
        replaced("labels", (5,), "i8"),
        replaced("labels", (6,), "f8"),
        replaced("labels", (6,), h5py.string_dtype()),
        replaced("labels", (6,), [("a", "i4")]),
        replaced("labels", (6,), "i8"),  # a promise: they were never written
        replaced("labels", (6,), "i8", chunks=(3,)),
    ],
)
def test_labels_that_cannot_be_counted_are_no_classes(
    ours: Path, damage: Callable[[h5py.File], None]
) -> None:
    change(ours, damage)
    assert describe(ours)["classes"] == {}


@pytest.mark.parametrize(
    "names",
    [
        replaced("label_names", (2,), "i8"),
        replaced("label_names", (2, 2), "S3"),
        replaced("label_names", (), "S3"),
        replaced("label_names", (2**40,), "S3"),
        replaced("label_names", (2,), h5py.string_dtype()),
    ],
)
def test_names_that_are_none_leave_the_numbers(
    ours: Path, names: Callable[[h5py.File], None]
) -> None:
    change(ours, names)
    assert describe(ours)["classes"] == {"0": 4, "1": 2}


def test_labels_beyond_the_names_are_counted_by_number(ours: Path) -> None:
    change(ours, replaced("labels", data=np.array([0, 0, 1, 5, -3, 5])))
    assert describe(ours)["classes"] == {"-3": 1, "cat": 2, "dog": 1, "5": 2}


def test_millions_of_labels_are_counted_and_are_no_classes_if_all_differ(
    foreign: Callable[..., Path],
) -> None:
    count = 2_500_000

    def fill(file: h5py.File) -> None:
        file.create_dataset("x", (count, 9), "u1")
        file["labels"] = np.arange(count) % 5

    path = foreign(fill)
    assert describe(path)["classes"] == {str(n): count // 5 for n in range(5)}
    change(path, replaced("labels", data=np.arange(count)))
    assert describe(path)["classes"] == {}


def test_huge_shapes_without_data_cost_nothing(ours: Path) -> None:
    huge = 2**59
    change(
        ours,
        replaced("labels", (huge,), "i8"),
        replaced("mean", (huge,), "f8"),
        replaced("splits/train", (huge,), "u8"),
        replaced("many", (huge,), "f8", chunks=(1024,)),
        replaced("table", (2**31, 2**31), "i2", chunks=(64, 64)),
    )
    told = describe(ours)
    assert told["mean"] is None
    assert told["splits"] == {"train": huge}
    sizes = {d["name"]: d["raw_bytes"] for d in told["data_sets"]}
    assert sizes["many"] == huge * 8


def test_samples_of_a_huge_shape_without_data(ours: Path) -> None:
    change(ours, replaced("imagens", (2**40, 2**20, 3), "u1", chunks=(1, 2**10, 3)))
    told = describe(ours)
    assert told["samples"] == 2**40
    assert told["classes"] == {}


@pytest.mark.parametrize("name", ["splits", "fields", "mean", "std", "keys"])
def test_a_group_where_a_data_set_should_be_and_the_reverse(ours: Path, name: str) -> None:
    def swap(file: h5py.File) -> None:
        was_group = name in ("splits", "fields")
        if name in file:
            del file[name]
        if was_group:
            file[name] = [1, 2]
        else:
            file.create_group(name)

    change(ours, swap)
    told = describe(ours)
    assert (told["splits"], told["fields"]) == ({}, [])


# Structures without end


def test_a_hundred_thousand_links_are_not_all_followed(foreign: Callable[..., Path]) -> None:
    def fill(file: h5py.File) -> None:
        group = file.create_group("g")
        for number in range(100_000):
            h5py.h5o.link(group.id, file.id, b"%d" % number)

    path = foreign(fill, libver="latest")
    began = time.perf_counter()
    assert describe(path)["data_sets"] == []
    assert time.perf_counter() - began < 5


def test_many_data_sets_are_listed_up_to_a_bound(foreign: Callable[..., Path]) -> None:
    def fill(file: h5py.File) -> None:
        for number in range(500):
            h5d.create(file.id, b"%d" % number, h5t.STD_U8LE, h5s.create_simple((1,)))

    assert len(describe(foreign(fill))["data_sets"]) == 200


def test_groups_that_hold_themselves_end(foreign: Callable[..., Path]) -> None:
    def fill(file: h5py.File) -> None:
        inner = file.create_group("a/b")
        inner["up"] = file["a"]
        inner["root"] = file["/"]
        inner["data"] = [1, 2, 3]

    told = describe(foreign(fill))
    assert [d["name"] for d in told["data_sets"]] == ["a/b/data"]


def test_groups_are_followed_to_a_depth(foreign: Callable[..., Path]) -> None:
    def fill(file: h5py.File) -> None:
        group = file
        for number in range(100):
            group = group.create_group("g")
            group[f"d{number}"] = number

    assert len(describe(foreign(fill))["data_sets"]) == 16


def test_links_that_lead_nowhere_or_out_of_the_file_are_not_followed(
    foreign: Callable[..., Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.zeros(9)
        file["here"] = h5py.ExternalLink("foreign.h5", "/there")

    def fill(file: h5py.File) -> None:
        file["out"] = h5py.ExternalLink("other.h5", "/secret")
        file["there"] = h5py.ExternalLink("other.h5", "/here")
        file["nowhere"] = h5py.SoftLink("/none")
        file["self"] = h5py.SoftLink("/self")
        file["x"] = np.zeros(3)

    assert [d["name"] for d in describe(foreign(fill))["data_sets"]] == ["x"]


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Whatever a file promises, this process grows little."""
    if sys.platform != "linux":
        yield
        return
    before = peak_bytes()
    yield
    assert peak_bytes() - before < 200_000_000


def peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
