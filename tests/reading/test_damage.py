"""Damage, by accident and on purpose: a clear error or the right data; never a crash or a hang.

Files are opened by a process of their own, wrecks.py, so that a crash is a failed test.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import simplejpeg

from celeiro.format.checksum import crc32c
from celeiro.format.filters import JPEG

if TYPE_CHECKING:
    from collections.abc import Iterator

STORES = ("pixels", "jpeg", "lossless", "gzip", "encoded")
COUNT = 10

# What Python says of a value that nobody looked at before it was used.
UNCLEAR = re.compile(
    r"has no attribute|NoneType|subscript|unpack|broadcast|reshape|too large to convert|"
    r"positional|says: \.|must be|cannot convert|invalid literal|out of bounds|"
    r"not supported between"
)


class Onlooker:
    """Has another process look at files."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def look(self, path: Path, key: str | None = None, most: int = COUNT) -> Any:
        if self._process is None or self._process.poll() is not None:
            script = Path(__file__).with_name("wrecks.py")
            self._process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-W", "ignore", str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                text=True,
            )
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"path": str(path), "key": key, "most": most}) + "\n")
        stdin.flush()
        answer = stdout.readline()
        assert answer, f"crash or hang: {self._process.wait()}"
        report = json.loads(answer)
        for error in errors_in(report):
            if error[0] not in ("IndexError", "KeyError", "MemoryError", "_ArrayMemoryError"):
                assert str(path) in error[1], ("which file?", error)
        return report

    def close(self) -> None:
        if self._process is not None:
            with self._process as process:
                process.stdin.close()


@pytest.fixture(scope="module")
def onlooker() -> Iterator[Onlooker]:
    onlooker = Onlooker()
    yield onlooker
    onlooker.close()


@pytest.fixture(scope="module")
def sound(onlooker: Onlooker, packed: dict[str, Path]) -> dict[str, Any]:
    """What is to be seen in each file while it is whole."""
    return {name: onlooker.look(path) for name, path in packed.items()}


def errors_in(report: Any) -> list[list[Any]]:
    told = [report["open"], *report["seen"].values()]
    return [error for error in told if isinstance(error, list)]


def assert_right_or_refused(report: Any, expected: Any, what: object = "") -> None:
    for error in errors_in(report):
        assert error[2], (what, error)
        assert not UNCLEAR.search(error[1]), (what, error)
    if report["open"] is None:
        wrong = {
            name: seen
            for name, seen in report["seen"].items()
            if isinstance(seen, str) and seen != expected["seen"][name]
        }
        missing = expected["seen"].keys() - report["seen"].keys()
        assert (wrong, missing) == ({}, set()), what


def test_what_is_sound_is_all_seen(sound: dict[str, Any]) -> None:
    for report in sound.values():
        assert errors_in(report) == []
        assert report["seen"].keys() >= {"sample 9", "split val", "field mask", "field boxes"}


# Accidents


def places(path: Path, rng: np.random.Generator) -> list[int]:
    """Bytes to be changed: half of them anywhere, half where structures are."""
    size = path.stat().st_size
    first = np.arange(0, min(size, 4096))
    rear = np.arange(size * 3 // 4, size)
    data = path.read_bytes()
    structures = [int(i) for i in np.concatenate([first, rear]) if data[i]]
    return [*rng.choice(structures, 15), *rng.integers(0, size, 15)]


def test_a_byte_that_changed_is_noticed_wherever_it_stands(
    path: Path, store: str, onlooker: Onlooker, sound: dict[str, Any]
) -> None:
    rng = np.random.default_rng(STORES.index(store))
    whole = path.read_bytes()
    for at in places(path, rng):
        wreck = bytearray(whole)
        wreck[at] ^= int(rng.choice([1, 0x80, 0xFF, int(rng.integers(1, 256))]))
        path.write_bytes(wreck)
        assert_right_or_refused(onlooker.look(path), sound[store], f"byte {at}")


def test_a_file_that_was_cut_off_is_refused_or_right(
    path: Path, store: str, onlooker: Onlooker, sound: dict[str, Any]
) -> None:
    whole = path.read_bytes()
    cuts = {0, 1, 8, 100, 4096, len(whole) - 1, *range(0, len(whole), len(whole) // 25)}
    for length in sorted(cuts):
        path.write_bytes(whole[:length])
        assert_right_or_refused(onlooker.look(path), sound[store], f"cut to {length}")


def test_zeros_in_place_of_a_block_are_noticed(
    path: Path, store: str, onlooker: Onlooker, sound: dict[str, Any]
) -> None:
    whole = path.read_bytes()
    for at in range(0, len(whole), 2048):
        path.write_bytes(whole[:at] + bytes(len(whole[at : at + 2048])) + whole[at + 2048 :])
        assert_right_or_refused(onlooker.look(path), sound[store], f"zeros from {at}")


@pytest.mark.parametrize("kind", ["plain", "gzip", "lzf", "blosc", "fletcher32", "many"])
def test_a_foreign_file_that_changed_is_no_crash(
    kind: str, tmp_path: Path, onlooker: Onlooker
) -> None:
    path = tmp_path / "a.h5"
    rows = np.random.default_rng(0).integers(0, 9, (8, 6, 10, 3), np.uint8)
    options: dict[str, Any] = {
        "plain": {},
        "gzip": {"chunks": (1, 6, 10, 3), "compression": "gzip", "shuffle": True},
        "lzf": {"chunks": (3, 6, 4, 3), "compression": "lzf"},
        "blosc": {"chunks": (2, 6, 10, 3), **hdf5plugin.Blosc()},
        "fletcher32": {"chunks": (1, 6, 10, 3), "fletcher32": True},
        "many": {"chunks": (1, 2, 2, 1), "compression": "gzip"},
    }[kind]
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=rows, **options)
        file["labels"] = np.arange(8)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    filled = np.flatnonzero(np.frombuffer(whole, np.uint8))
    for at in rng.choice(filled, 25):
        wreck = bytearray(whole)
        wreck[at] ^= int(rng.integers(1, 256))
        path.write_bytes(wreck)
        for error in errors_in(onlooker.look(path, "images")):
            assert error[2], (at, error)
            assert not UNCLEAR.search(error[1]), (at, error)


# On purpose


def replace(name: str, values: Any, **attributes: Any) -> Any:
    """Put another data set in the place of one, with a checksum that is right."""

    def edit(file: h5py.File) -> None:
        if name in file:
            del file[name]
        if callable(values):
            values(file, name)
        else:
            data = file.create_dataset(name, data=np.asarray(values))
            told = {"crc32c": np.uint32(crc32c(np.ascontiguousarray(values).tobytes()))}
            for key, value in (told | attributes).items():
                data.attrs[key] = value

    return edit


def stored(name: str, change: Any) -> Any:
    """Change values in place, and the checksum with them."""

    def edit(file: h5py.File) -> None:
        values = file[name][()]
        values = change(values)
        file[name][...] = values
        file[name].attrs["crc32c"] = np.uint32(crc32c(np.ascontiguousarray(values).tobytes()))

    return edit


def at(index: Any, value: Any) -> Any:
    """A change of one value."""

    def change(values: Any) -> Any:
        values[index] = value
        return values

    return change


def group(file: h5py.File, name: str) -> None:
    file.create_group(name)


def soft_link(file: h5py.File, name: str) -> None:
    file[name] = h5py.SoftLink("/celeiro/crc32c")


def external_link(file: h5py.File, name: str) -> None:
    file[name] = h5py.ExternalLink("/etc/passwd", "x")


def endless_link(file: h5py.File, name: str) -> None:
    file[name] = h5py.SoftLink(f"/{name}")


def external(file: h5py.File, name: str) -> None:
    file.create_dataset(name, (COUNT,), "i8", external=[("/etc/passwd", 0, 8 * COUNT)])


def in_chunks(file: h5py.File, name: str) -> None:
    file.create_dataset(name, data=np.arange(COUNT), chunks=(2,), compression="gzip")


def never_written(shape: tuple[int, ...], dtype: Any = "i8", **options: Any) -> Any:
    return lambda file, name: file.create_dataset(name, shape, dtype, **options)


def attribute(name: str, value: Any, where: str = "/") -> Any:
    def edit(file: h5py.File) -> None:
        attrs = file[where].attrs
        if name in attrs:
            del attrs[name]
        if value is not None:
            attrs[name] = value

    return edit


U32, U64 = np.uint32, np.uint64
HUGE = 2**64 - 1
STRANGE: dict[str, Any] = {
    "a group": group,
    "a soft link": soft_link,
    "an external link": external_link,
    "a link to itself": endless_link,
    "external storage": external,
    "in chunks": in_chunks,
    "one number": np.int64(3),
    "nothing": lambda file, name: file.create_dataset(name, data=h5py.Empty("i8")),
    "too short": np.arange(COUNT - 1, dtype=U64),
    "too long": np.arange(COUNT + 1, dtype=U64),
    "of no row": np.zeros(0, U64),
    "three axes": np.zeros((COUNT, 2, 2), U64),
    "text": np.array([b"ab"] * COUNT),
    "text of any length": lambda file, name: file.create_dataset(name, data=["ab"] * COUNT),
    "rows of any length": never_written((COUNT,), h5py.vlen_dtype("i4")),
    "records": np.zeros(COUNT, [("a", "i4"), ("b", "f4")]),
    "floats": np.full(COUNT, np.nan),
    "half floats, backwards": np.zeros(COUNT, ">f2"),
    "complex": np.zeros(COUNT, np.complex64),
    "references": lambda file, name: file.create_dataset(name, (COUNT,), h5py.ref_dtype),
    "huge, never written": never_written((2**60,)),
    "huge, in chunks": never_written((2**60,), chunks=(1,)),
    "large numbers": np.full(COUNT, HUGE, U64),
}
COLUMNS = [
    "labels", "label_names", "keys", "keys_offsets", "splits", "splits/val", "mean", "std",
    "fields", "fields/weight", "fields/name", "fields/boxes", "fields/boxes_offsets",
    "fields/mask", "celeiro", "celeiro/crc32c", "celeiro/index", "celeiro/mask_crc32c",
    "celeiro/mask_index", "imagens",
]  # fmt: skip
OF_ENCODED = [
    "imagens", "imagens_offsets", "imagens_shapes", "fields/mask_offsets", "fields/mask_shapes",
]  # fmt: skip


def assert_samples_right_or_refused(report: Any, expected: Any, what: object = "") -> None:
    """Columns may be what the file now says; samples are what they were, or refused."""
    for error in errors_in(report):
        assert error[2], (what, error)
        assert not UNCLEAR.search(error[1]), (what, error)
    for name, seen in report["seen"].items():
        if name.startswith("sample ") and isinstance(seen, str):
            assert seen == expected["seen"][name], (what, name)


def look_after(path: Path, onlooker: Onlooker, edit: Any, most: int = COUNT) -> Any:
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        edit(file)
    return onlooker.look(path, most=most)


@pytest.mark.parametrize("name", ["gzip", "encoded"])
@pytest.mark.parametrize("strange", STRANGE)
def test_a_column_that_is_something_else_is_refused(
    strange: str, name: str, packed: dict[str, Path], tmp_path: Path,
    onlooker: Onlooker, sound: dict[str, Any],
) -> None:  # fmt: skip
    path = tmp_path / "a.h5"
    columns = OF_ENCODED if name == "encoded" else COLUMNS
    # Half of them for each: what a column may be is looked at in few places.
    for column in columns[list(STRANGE).index(strange) % 2 :: 2]:
        path.write_bytes(packed[name].read_bytes())
        report = look_after(path, onlooker, replace(column, STRANGE[strange]), most=1)
        assert_samples_right_or_refused(report, sound[name], column)


LIES: dict[str, Any] = {
    "labels missing a row": (replace("labels", np.arange(COUNT - 1)), "'labels'"),
    "labels of three axes": (replace("labels", np.zeros((COUNT, 1, 1), np.int64)), "'labels'"),
    "labels as text": (replace("labels", np.array([b"x"] * COUNT)), "'labels'"),
    "keys missing one": (replace("keys", np.array([b"x"] * 9)), "'keys'"),
    "checksums missing one": (replace("celeiro/crc32c", np.zeros(9, U32)), "'celeiro/crc32c'"),
    "checksums too wide": (replace("celeiro/crc32c", np.zeros(10, U64)), "'celeiro/crc32c'"),
    "no checksums": (lambda file: file.__delitem__("celeiro/crc32c"), "'celeiro/crc32c'"),
    "split beyond": (stored("splits/val", at(-1, COUNT)), "splits/val"),
    "split far beyond": (stored("splits/val", at(-1, HUGE)), "splits/val"),
    "split that falls": (stored("splits/val", lambda v: v[::-1].copy()), "splits/val"),
    "split with a number twice": (stored("splits/val", at(1, 2)), "splits/val"),
    "boxes that fall": (stored("fields/boxes_offsets", at(3, 99)), "boxes"),
    "boxes beyond": (stored("fields/boxes_offsets", at(-1, 99)), "boxes"),
    "boxes far beyond": (stored("fields/boxes_offsets", at(-1, HUGE)), "boxes"),
    "boxes from elsewhere": (stored("fields/boxes_offsets", at(0, 1)), "boxes"),
    "one row less": (replace("fields/weight", np.zeros(9)), "fields/weight"),
    "no such version": (attribute("celeiro_format", 99), "version 99"),
    "no such store": (attribute("celeiro_store", np.bytes_("tape")), "store 'tape'"),
    "key of a group": (attribute("celeiro_data", np.bytes_("fields")), "fields"),
    "key that leads away": (attribute("celeiro_data", np.bytes_("../x")), r"\.\./x"),
    "key that is not there": (attribute("celeiro_data", np.bytes_("other")), "'other'"),
    "label without checksum": (attribute("crc32c", None, "labels"), "'labels' has no checksum"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_contradicts_itself_is_refused_by_name(
    lie: str, packed: dict[str, Path], tmp_path: Path, onlooker: Onlooker, sound: dict[str, Any]
) -> None:
    edit, message = LIES[lie]
    for name in ("pixels", "gzip"):
        path = tmp_path / f"{name}.h5"
        path.write_bytes(packed[name].read_bytes())
        report = look_after(path, onlooker, edit)
        assert_samples_right_or_refused(report, sound[name])
        assert any(re.search(message, error[1]) for error in errors_in(report)), report


ATTRIBUTES = [
    "text", np.bytes_(b"\xff\xfe"), -1, 2.5, np.arange(3), np.uint64(HUGE), h5py.Empty("i4"),
    "x" * 60_000, np.zeros(2, [("a", "i4")]), None, np.array([1], np.uint32),
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "name"),
    [
        *[("/", f"celeiro_{name}") for name in "format store data color provenance".split()],
        ("labels", "crc32c"),
        ("celeiro/crc32c", "crc32c"),
        ("celeiro/index", "crc32c"),
        ("celeiro/index", "file_end"),
        ("mean", "measured"),
    ],
)
def test_attributes_of_any_kind_are_no_harm(
    where: str, name: str, packed: dict[str, Path], tmp_path: Path,
    onlooker: Onlooker, sound: dict[str, Any],
) -> None:  # fmt: skip
    path = tmp_path / "a.h5"
    for value in ATTRIBUTES:
        path.write_bytes(packed["gzip"].read_bytes())
        report = look_after(path, onlooker, attribute(name, value, where), most=1)
        if (where, name) == ("/", "celeiro_format") and value is None:
            continue  # it does not say any more that it is ours
        assert_samples_right_or_refused(report, sound["gzip"], repr(value)[:40])


TABLES: dict[str, Any] = {
    "beyond the end": at((4, 0), 10**6),
    "far beyond": at((4, 0), HUGE - 1),
    "nowhere": at((4, 0), HUGE),
    "over the end": at((4, 1), 10**6),
    "of endless length": at((4, 1), HUGE),
    "empty": at((4, 1), 0),
    "nothing but zeros": at(slice(None), 0),
    "one place for two": at(4, 4096),
    "all in one place": lambda t: np.broadcast_to(t[:1], t.shape).copy(),
    "overlapping": at((slice(None), 1), 3000),
    "backwards": lambda t: t[::-1].copy(),
    "a byte later": lambda t: t + np.array([1, 0], U64),
    "a byte shorter": lambda t: t - np.array([0, 1], U64),
}


@pytest.mark.parametrize("name", ["jpeg", "lossless", "gzip"])
@pytest.mark.parametrize("lie", TABLES)
def test_a_table_that_lies_with_a_right_checksum_is_not_believed(
    lie: str, name: str, packed: dict[str, Path], tmp_path: Path,
    onlooker: Onlooker, sound: dict[str, Any],
) -> None:  # fmt: skip
    path = tmp_path / "a.h5"
    path.write_bytes(packed[name].read_bytes())
    report = look_after(path, onlooker, stored("celeiro/index", TABLES[lie]))
    assert report == sound[name]  # HDF5 knows better


OFFSETS: dict[str, Any] = {
    "falling": at(3, 10**6),
    "far beyond": at(-1, HUGE),
    "beyond": at(-1, 10**6),
    "from elsewhere": at(0, 5),
    "all zero": lambda o: np.where(np.arange(len(o)) < len(o) - 1, 0, o),
    "shifted": lambda o: np.concatenate([o[:1], o[1:-1] + U64(1), o[-1:]]),
    "swallowed": at(4, "next"),
}


@pytest.mark.parametrize("what", ["imagens", "fields/mask"])
@pytest.mark.parametrize("lie", OFFSETS)
def test_offsets_that_lie_give_no_other_sample(
    lie: str, what: str, packed: dict[str, Path], tmp_path: Path,
    onlooker: Onlooker, sound: dict[str, Any],
) -> None:  # fmt: skip
    path = tmp_path / "a.h5"
    path.write_bytes(packed["encoded"].read_bytes())

    def swallow(offsets: Any) -> Any:
        offsets[4] = offsets[5]
        return offsets

    change = swallow if lie == "swallowed" else OFFSETS[lie]
    report = look_after(path, onlooker, stored(f"{what}_offsets", change))
    assert_right_or_refused(report, {"seen": sound["encoded"]["seen"]})
    assert errors_in(report)


@pytest.mark.parametrize("shape", [(0, 0, 0), (1, 1, 3), (2**32 - 1, 2**32 - 1, 3), (40, 48, 99)])
def test_shapes_that_lie_are_an_error_of_their_sample(
    shape: tuple[int, ...], packed: dict[str, Path], tmp_path: Path,
    onlooker: Onlooker, sound: dict[str, Any],
) -> None:  # fmt: skip
    path = tmp_path / "a.h5"
    path.write_bytes(packed["encoded"].read_bytes())
    report = look_after(path, onlooker, stored("imagens_shapes", at(4, shape)))
    assert_right_or_refused(report, sound["encoded"])
    if shape[:2] != (40, 48):
        assert report["seen"]["sample 4"][0] == "SampleError"


# Chunks that are not what they should be, with every checksum right


def with_chunk(path: Path, number: int, data: bytes, mask: int = 0) -> None:
    """Put other bytes in the place of a chunk, and tell its checksum."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        samples = file["imagens"]
        samples.id.write_direct_chunk((number, *[0] * (samples.ndim - 1)), data, mask)
        stored("celeiro/crc32c", at(number, crc32c(data)))(file)


def blosc(values: Any, typesize: int = 1) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.blosc_encode(values, typesize=typesize, compressor="zstd", shuffle=2))


def jpeg(height: int, width: int, grey: bool = False) -> bytes:
    image = np.zeros((height, width, 1 if grey else 3), np.uint8)
    return simplejpeg.encode_jpeg(image, colorspace="GRAY" if grey else "RGB")


WHOLE = 24 * 32 * 3
CHUNKS: dict[str, dict[str, bytes]] = {
    "gzip": {
        "short": zlib.compress(bytes(WHOLE - 1)),
        "one byte": zlib.compress(b"x"),
        "nothing in it": zlib.compress(b""),
        "long": zlib.compress(bytes(WHOLE + 1)),
        "a bomb": zlib.compress(bytes(10**8)),
        "cut": zlib.compress(bytes(range(256)) * 9)[:-8],
        "no gzip": b"not compressed",
    },
    "lossless": {
        "short": blosc(bytes(WHOLE - 1)),
        "long": blosc(bytes(WHOLE + 1)),
        "a bomb": blosc(bytes(10**8)),
        "no header": b"abc",
        "header alone": blosc(bytes(WHOLE))[:16],
        "says too much": blosc(bytes(WHOLE))[:4] + b"\xff\xff\xff\x7f" + blosc(bytes(WHOLE))[8:],
        "says too little": blosc(bytes(WHOLE))[:4] + b"\x01\0\0\0" + blosc(bytes(WHOLE))[8:],
        "says another length": blosc(bytes(WHOLE))[:12]
        + b"\xff\xff\0\0"
        + blosc(bytes(WHOLE))[16:],
    },
    "jpeg": {
        "smaller": jpeg(16, 16),
        "larger": jpeg(48, 64),
        "turned": jpeg(32, 24),
        "grey": jpeg(24, 32, grey=True),
        "huge by its header": jpeg(24, 32).replace(b"\0\x18\0\x20", b"\xff\xff\xff\xff", 1),
        "cut": jpeg(24, 32)[:-30],
        "no jpeg": b"\xff\xd8\xff nothing",
    },
}


@pytest.mark.parametrize(
    ("name", "chunk"), [(name, chunk) for name, chunks in CHUNKS.items() for chunk in chunks]
)
def test_a_chunk_that_is_not_its_sample_is_an_error(
    name: str, chunk: str, packed: dict[str, Path], tmp_path: Path,
    onlooker: Onlooker, sound: dict[str, Any],
) -> None:  # fmt: skip
    path = tmp_path / "a.h5"
    path.write_bytes(packed[name].read_bytes())
    with_chunk(path, 4, CHUNKS[name][chunk])
    report = onlooker.look(path)
    if chunk != "cut" or name != "jpeg":  # of which a decoder makes up the rest
        assert report["seen"]["sample 4"][0] == "SampleError"
        assert "sample 4" in report["seen"]["sample 4"][1]
    for i in (0, 3, 5, 9):
        assert report["seen"][f"sample {i}"] == sound[name]["seen"][f"sample {i}"]


@pytest.mark.parametrize("name", ["jpeg", "lossless", "gzip"])
def test_a_chunk_without_filters_is_refused(
    name: str, packed: dict[str, Path], tmp_path: Path, onlooker: Onlooker, sound: dict[str, Any]
) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(packed[name].read_bytes())
    with_chunk(path, 4, bytes(WHOLE), 0xFF)
    report = onlooker.look(path)
    assert "without their filters" in report["open"][1]


def jpeg_with(options: tuple[int, ...]) -> Any:
    """Samples whose filter has other options."""

    def edit(file: h5py.File) -> None:
        chunks = [file["imagens"].id.read_direct_chunk((i, 0, 0, 0))[1] for i in range(COUNT)]
        del file["imagens"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, 24, 32, 3))
        plist.set_filter(JPEG, h5py.h5z.FLAG_MANDATORY, options)
        space = h5py.h5s.create_simple((COUNT, 24, 32, 3))
        made = h5py.h5d.create(file.id, b"imagens", h5py.h5t.STD_U8LE, space, plist)
        for i, chunk in enumerate(chunks):
            made.write_direct_chunk((i, 0, 0, 0), chunk)

    return edit


@pytest.mark.parametrize(
    "options",
    [
        (), (90,), (90, 32, 24), (90, 24, 32, 1), (90, 32, 24, 0), (90, 64, 24, 1),
        (90, 2**31, 24, 1), (90, 32, 24, 7), (0, 0, 0, 0), tuple(range(20)),
    ],
    ids=str,
)  # fmt: skip
def test_options_of_the_jpeg_filter_that_lie_are_refused(
    options: tuple[int, ...], packed: dict[str, Path], tmp_path: Path, onlooker: Onlooker,
    sound: dict[str, Any],
) -> None:  # fmt: skip
    path = tmp_path / "a.h5"
    path.write_bytes(packed["jpeg"].read_bytes())
    try:
        report = look_after(path, onlooker, jpeg_with(options))
    except ValueError:
        return  # our own filter does not let HDF5 make such a data set
    assert_samples_right_or_refused(report, sound["jpeg"])
    if options[1:4] != (24, 32, 1):
        assert report["open"] is not None


# Shapes that promise more than there is


HUGE_SHAPES: dict[str, dict[str, Any]] = {
    "many samples": {"shape": (2**40, 8, 8), "dtype": "u1"},
    "many samples in chunks": {"shape": (2**40, 8, 8), "dtype": "u1", "chunks": (1, 8, 8)},
    "many small chunks": {"shape": (2**40, 8, 8), "dtype": "u1", "chunks": (1, 1, 1)},
    "a large sample": {"shape": (4, 2**20, 2**20), "dtype": "f8"},
    "a large sample in chunks": {"shape": (4, 2**20, 2**20), "dtype": "f8", "chunks": (1, 8, 8)},
    "a large chunk": {"shape": (4, 2**16, 2**14), "dtype": "f4", "chunks": (1, 2**14, 2**14)},
    "as large as can be": {"shape": (2**31, 2**31), "dtype": "u1"},
    "one row of many": {"shape": (2, 2**20), "dtype": "u1", "chunks": (1, 1)},
}


@pytest.mark.parametrize("name", HUGE_SHAPES)
def test_shapes_without_storage_take_no_memory(
    name: str, tmp_path: Path, onlooker: Onlooker
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", **HUGE_SHAPES[name])
    report = onlooker.look(path, "images")
    for error in errors_in(report):
        # The caller asked for a sample that is larger than the memory: that is what Python says.
        assert error[2] or error[0] in ("MemoryError", "_ArrayMemoryError"), error
    if "many samples" in name:
        assert isinstance(report["seen"]["sample 7"], str)


@pytest.mark.parametrize("store", ["pixels", "jpeg", "lossless", "encoded"])
def test_a_file_of_ours_that_promises_more_than_it_has_is_refused(
    store: str, packed: dict[str, Path], tmp_path: Path, onlooker: Onlooker
) -> None:
    path = tmp_path / "a.h5"
    for shape in ((2**40, 24, 32, 3), (COUNT, 2**20, 2**20, 3)):
        path.write_bytes(packed[store].read_bytes())
        options: dict[str, Any] = {}
        if store in ("jpeg", "lossless"):
            options = {"chunks": (1, *shape[1:])} if shape[1] < 99 else {"chunks": (1, 24, 32, 3)}
        report = look_after(
            path, onlooker, replace("imagens", never_written(shape, "u1", **options))
        )
        assert report["open"] is not None
        assert report["open"][0] == "FormatError"
