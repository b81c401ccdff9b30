"""Every store, read with what other people have: h5py alone, pyfive, HDF5 1.10's h5dump.

Also what the format page promises of the bytes: checksums, indices, places, structures. The
readers here know the page and not celeiro.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import h5py
import hdf5plugin
import numpy as np
import pyfive
import pytest
from crc32c import crc32c
from h5py import h5a, h5d, h5o, h5t

import celeiro

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from celeiro.packing.report import Report

    Array = npt.NDArray[Any]

ROOT = Path(__file__).parents[1]
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.h5"))
PAGE = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
H5DUMP = shutil.which("h5dump")

STORES: dict[str, dict[str, Any]] = {
    "pixels": {"store": "pixels", "size": (20, 28)},
    "jpeg": {"store": "jpeg", "size": (20, 28)},
    "lossless": {"store": "lossless", "size": (20, 28)},
    "gzip": {"store": "lossless", "compressor": "gzip", "size": (20, 28)},
    "encoded": {"store": "encoded"},
}
SLICED = [name for name in STORES if name != "encoded"]


class Packed(NamedTuple):
    """One file of each store, of the same six photographs with masks and boxes."""

    folder: Path
    photos: Path
    reports: dict[str, Report]

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.h5"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    folder = tmp_path_factory.mktemp("packed")
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for number in range(6):
        label = ("cat", "dog")[number % 2]
        patches = rng.integers(0, 256, (4, 4, 3)).astype(np.float32)
        image = cv2.resize(patches, (48 + number, 40), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(photos / f"{label}.{number}.jpg"), image.clip(0, 255))
        mask = rng.integers(0, 5, image.shape[:2], np.uint8)
        cv2.imwrite(str(photos / f"mask.{number}.png"), mask)
        row = {"path": f"{label}.{number}.jpg", "label": label, "mask": f"mask.{number}.png"}
        row |= {"boxes": [[1, 2, 30, 30.5]] * (number % 3), "grams": 1.5 * number}
        row |= {"tags": [number] * (number % 4), "note": "x" * number}
        lines.append(json.dumps(row))
    manifest = photos / "manifest.jsonl"
    manifest.write_text("\n".join(lines))
    split = {"train": 0.67, "val": 0.33}
    reports = {
        name: celeiro.pack(manifest, folder / f"{name}.h5", split=split, **options)
        for name, options in STORES.items()
    }
    return Packed(folder, photos, reports)


@pytest.fixture(
    params=[*STORES, *GOLDEN], ids=lambda p: p if isinstance(p, str) else f"old-{p.stem}"
)
def anyone(request: pytest.FixtureRequest, packed: Packed) -> Path:
    """A file packed just now, or one of the golden ones."""
    return request.param if isinstance(request.param, Path) else packed.path(request.param)


def data_key(file: h5py.File) -> str:
    return str(file.attrs["celeiro_data"].decode())


def stored(file: h5py.File, name: str) -> list[bytes]:
    """The bytes of every picture of a data set, as h5py tells where they are."""
    data, raw = file[name], Path(file.filename).read_bytes()
    if data.chunks:
        chunks = [data.id.get_chunk_info(i) for i in range(data.id.get_num_chunks())]
        assert [c.chunk_offset[0] for c in chunks] == list(range(len(data)))
        assert {c.filter_mask for c in chunks} == {0}
        return [raw[c.byte_offset : c.byte_offset + c.size] for c in chunks]
    base = data.id.get_offset()
    if f"{name}_offsets" in file:
        ends = file[f"{name}_offsets"][:].tolist()
    else:
        step = data.dtype.itemsize * int(np.prod(data.shape[1:]))
        ends = [step * i for i in range(len(data) + 1)]
    return [raw[base + a : base + b] for a, b in itertools.pairwise(ends)]


def objects(file: h5py.File) -> dict[str, Any]:
    """Every group and data set by its path."""
    found: dict[str, Any] = {"/": file["/"]}
    file.visititems(lambda name, item: found.update({name: item}))
    return found


def auxiliary(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Every data set that holds no pictures."""
    pictures = (data_key(file), "fields/mask")
    return {
        name: item
        for name, item in objects(file).items()
        if isinstance(item, h5py.Dataset) and name not in pictures
    }


# h5py and nothing else

BLOCKS = [b for b in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "h5py.File" in b]

READ_WITHOUT_CELEIRO = """
import json, sys
import cv2, h5py, numpy as np
images = []
for block in json.loads(sys.argv[1]):
    names = {"h5py": h5py, "cv2": cv2, "np": np}
    exec(block, names)
    images.append(names["image"])
assert not [name for name in sys.modules if name.partition(".")[0] == "celeiro"]
np.savez(sys.argv[2], *images)
"""


def test_the_page_shows_how_to_read_every_store() -> None:
    shown = [re.findall(r'File\("(\w+)\.h5"\)', block) for block in BLOCKS]
    assert shown == [["pixels"], ["jpeg"], ["jpeg"], ["lossless"], ["encoded"]]
    assert max(block.count("\n") for block in BLOCKS) <= 4


def test_the_lines_on_the_page_read_every_store_without_celeiro(packed: Packed) -> None:
    blocks = [block for block in BLOCKS if "import celeiro" not in block]
    blocks.append(BLOCKS[0].replace("pixels.h5", "gzip.h5"))
    out = packed.folder / "read.npz"
    subprocess.run(
        [sys.executable, "-c", READ_WITHOUT_CELEIRO, json.dumps(blocks), str(out)],
        cwd=packed.folder,
        check=True,
    )
    pixels, jpeg, lossless, encoded, gzip = np.load(out).values()
    first = cv2.imread(str(packed.photos / "cat.0.jpg"))[..., ::-1]
    assert np.array_equal(encoded, first)
    assert np.array_equal(pixels, cv2.resize(first, (28, 20), interpolation=cv2.INTER_AREA))
    assert np.array_equal(lossless, pixels)
    assert np.array_equal(gzip, pixels)
    assert np.abs(jpeg.astype(int) - pixels).mean() < 8
    names = {"h5py": h5py}
    exec(BLOCKS[1].replace("jpeg.h5", str(packed.path("jpeg"))), names)
    assert np.array_equal(names["image"], jpeg)


def test_jpegs_read_alike_through_the_filter_and_through_opencv(packed: Packed) -> None:
    with h5py.File(packed.path("jpeg")) as file:
        for row, data in zip(file["imagens"], stored(file, "imagens"), strict=True):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            assert np.array_equal(row, image)


def test_encoded_holds_the_very_files(packed: Packed) -> None:
    with h5py.File(packed.path("encoded")) as file:
        files = {k: (packed.photos / k.decode()).read_bytes() for k in file["keys"][:]}
        assert stored(file, "imagens") == list(files.values())
        masks = [(packed.photos / f"mask.{i}.png").read_bytes() for i in range(6)]
        assert stored(file, "fields/mask") == masks


@pytest.mark.parametrize("name", STORES)
def test_what_stands_beside_the_samples_is_the_same_in_every_store(
    packed: Packed, name: str
) -> None:
    with h5py.File(packed.path(name)) as file:
        assert file["labels"][:].tolist() == [0, 1, 0, 1, 0, 1]
        assert file["label_names"][:].tolist() == [b"cat", b"dog"]
        assert file["keys"][:].tolist() == [
            b"%s.%d.jpg" % ((b"cat", b"dog")[i % 2], i) for i in range(6)
        ]
        rows = [file["splits"][split][:] for split in ("train", "val")]
        assert sorted(np.concatenate(rows).tolist()) == list(range(6))
        assert all((np.diff(r.astype(int)) > 0).all() for r in rows)
        assert file["fields/grams"][:].tolist() == [1.5 * i for i in range(6)]
        assert file["fields/note"][:].tolist() == [b"x" * i for i in range(6)]
        ends = file["fields/tags_offsets"][:].tolist()
        tags = [file["fields/tags"][a:b].tolist() for a, b in itertools.pairwise(ends)]
        assert tags == [[i] * (i % 4) for i in range(6)]
        ends = file["fields/boxes_offsets"][:].tolist()
        assert np.diff(ends).tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("name", SLICED)
def test_masks_keep_their_values(packed: Packed, name: str) -> None:
    with h5py.File(packed.path(name)) as file:
        masks = file["fields/mask"][:]
    assert masks.shape == (6, 20, 28)
    assert set(np.unique(masks)) <= set(range(5))


# What the page promises of the bytes


def test_every_sample_has_the_checksum_of_its_stored_bytes(anyone: Path) -> None:
    with h5py.File(anyone) as file:
        crcs = {data_key(file): "celeiro/crc32c"}
        crcs |= {"fields/mask": "celeiro/mask_crc32c"} if "fields/mask" in file else {}
        for name, where in crcs.items():
            assert [crc32c(data) for data in stored(file, name)] == file[where][:].tolist()


def test_every_other_data_set_is_plain_and_has_the_checksum_of_its_bytes(anyone: Path) -> None:
    raw = anyone.read_bytes()
    with h5py.File(anyone) as file:
        assert auxiliary(file)
        for data in auxiliary(file).values():
            plist = data.id.get_create_plist()
            assert plist.get_layout() == h5d.CONTIGUOUS
            assert plist.get_nfilters() == plist.get_external_count() == 0
            at, size = data.id.get_offset(), data.id.get_storage_size()
            assert size == data.size * data.dtype.itemsize
            crc = data.attrs["crc32c"]
            assert crc.dtype == np.uint32
            assert crc == (crc32c(raw[at : at + size]) if size else 0)


def test_the_index_is_where_hdf5_says_that_the_chunks_are(anyone: Path) -> None:
    with h5py.File(anyone) as file:
        pairs = {data_key(file): "celeiro/index", "fields/mask": "celeiro/mask_index"}
        for name, where in pairs.items():
            chunked = name in file and file[name].chunks is not None
            assert (where in file) == chunked
            if not chunked:
                continue
            told: list[Any] = []
            file[name].id.chunk_iter(told.append)
            told.sort(key=lambda chunk: chunk.chunk_offset)
            assert file[where].dtype == np.uint64
            assert file[where][:].tolist() == [[c.byte_offset, c.size] for c in told]
            assert file[where].attrs["file_end"] == anyone.stat().st_size


def test_the_samples_begin_at_byte_4096_and_have_no_gaps(anyone: Path) -> None:
    with h5py.File(anyone) as file:
        data = file[data_key(file)]
        if data.chunks is None:
            assert data.id.get_offset() == 4096
            assert data.id.get_storage_size() == data.size * data.dtype.itemsize
        else:
            chunks = [data.id.get_chunk_info(i) for i in range(len(data))]
            ends = np.cumsum([4096, *(c.size for c in chunks)]).tolist()
            assert [c.byte_offset for c in chunks] == ends[:-1]
            assert data.chunks == (1, *data.shape[1:])


def test_lengths_agree(anyone: Path) -> None:
    with h5py.File(anyone) as file:
        count = len(file["celeiro/crc32c"])
        one_each = {"labels", "celeiro/index", "fields/grams", "fields/mask", "fields/note"}
        for name, item in auxiliary(file).items():
            if name.endswith("_offsets"):
                ends = item[:].astype(np.int64)
                assert item.dtype == np.uint64
                assert ends[0] == 0
                assert (np.diff(ends) >= 0).all()
                assert ends[-1] == len(file[name.removesuffix("_offsets")])
                assert len(ends) == count + 1
            elif name in one_each or name.endswith(("_shapes", "_orientations", "_crc32c")):
                assert len(item) == count


def test_structures_are_of_hdf5_1_10(anyone: Path) -> None:
    raw = anyone.read_bytes()
    assert raw[:9] == b"\x89HDF\r\n\x1a\n\x03"  # superblock 3
    with h5py.File(anyone) as file:
        chunked = [d for d in objects(file).values() if isinstance(d, h5py.Dataset) and d.chunks]
        assert raw.count(b"FAHD") == len(chunked)  # each with one fixed array
        assert raw.count(b"OHDR") == len(objects(file))
        assert file.id.get_create_plist().get_userblock() == 0
        assert int.from_bytes(raw[28:36], "little") == len(raw)  # HDF5's own end of the file
    assert b"SNOD" not in raw  # nor any structure of 1.8
    assert b"TREE" not in raw


def types_in(kind: h5t.TypeID) -> Iterator[h5t.TypeID]:
    """A type, and those of its members."""
    yield kind
    if kind.get_class() == h5t.COMPOUND:
        for member in range(kind.get_nmembers()):
            yield from types_in(kind.get_member_type(member))
    elif kind.get_class() in (h5t.ENUM, h5t.ARRAY, h5t.VLEN):
        yield from types_in(kind.get_super())


def test_nothing_has_variable_length_big_ends_or_times(anyone: Path) -> None:
    with h5py.File(anyone) as file:
        for item in objects(file).values():
            about = h5o.get_info(item.id)
            assert {about.atime, about.btime, about.ctime, about.mtime} == {0}
            kinds = [h5a.open(item.id, name.encode()).get_type() for name in item.attrs]
            kinds += [item.id.get_type()] if isinstance(item, h5py.Dataset) else []
            for kind in itertools.chain.from_iterable(map(types_in, kinds)):
                assert kind.get_class() in (h5t.INTEGER, h5t.FLOAT, h5t.STRING)
                if kind.get_class() == h5t.STRING:
                    assert not kind.is_variable_str()
                    assert kind.get_strpad() == h5t.STR_NULLPAD
                elif kind.get_size() > 1:
                    assert kind.get_order() == h5t.ORDER_LE
            if isinstance(item, h5py.Group):
                links = [item.get(name, getlink=True) for name in item]
                assert {type(link) for link in links} <= {h5py.HardLink}


def test_the_filters_are_mandatory_with_the_values_of_the_page(packed: Packed) -> None:
    expected = {
        "jpeg": [(32019, 0, (90, 28, 20, 1))],
        "lossless": [(32001, 0, (2, 2, 1, 20 * 28 * 3, 5, 2, 5))],
        "gzip": [(2, 0, (1,)), (1, 0, (5,))],
    }
    for name, filters in expected.items():
        with h5py.File(packed.path(name)) as file:
            plist = file["imagens"].id.get_create_plist()
            found = [plist.get_filter(i)[:3] for i in range(plist.get_nfilters())]
        if name == "gzip":  # HDF5 itself makes its shuffle optional: it cannot fail
            found[0] = (found[0][0], 0, found[0][2])
        assert found == filters


def test_keys_are_of_fixed_length_where_that_is_smaller(tmp_path: Path) -> None:
    pictures = {
        "alike": ["1.png", "2.png", "3.png"],
        "unlike": ["1.png", "2.png", "n" * 90 + ".png"],
    }
    for folder, names in pictures.items():
        (tmp_path / folder).mkdir()
        for name in names:
            cv2.imwrite(str(tmp_path / folder / name), np.zeros((4, 4, 3), np.uint8))
        celeiro.pack(tmp_path / folder, tmp_path / f"{folder}.h5")
        with h5py.File(tmp_path / f"{folder}.h5") as file:
            keys, longest = file["keys"], max(map(len, names))
            flat = sum(map(len, names)) + 8 * (len(names) + 1)
            assert ("keys_offsets" not in file) == (len(names) * longest <= flat)
            if keys.dtype.kind == "S":
                assert keys[:].tolist() == [name.encode() for name in names]
            else:
                assert [k.decode() for k in stored(file, "keys")] == names


# One chunk has no index, many have one in pages.
@pytest.mark.parametrize(
    ("name", "count"), [("jpeg", 1), ("jpeg", 2), ("lossless", 1), ("gzip", 1), ("gzip", 1100)]
)
def test_few_and_many_chunks_are_as_the_page_says(
    name: str, count: int, tmp_path: Path, dumped: Callable[..., bytes]
) -> None:
    path = tmp_path / "chunks.h5"
    rows = np.random.default_rng(count).integers(0, 256, (count, 2, 3, 3), np.uint8)
    celeiro.pack(rows, path, **STORES[name] | {"size": None})
    test_the_index_is_where_hdf5_says_that_the_chunks_are(path)
    test_the_samples_begin_at_byte_4096_and_have_no_gaps(path)
    test_every_sample_has_the_checksum_of_its_stored_bytes(path)
    assert path.read_bytes().count(b"FAHD") == (count > 1)
    if name != "jpeg" and H5DUMP:
        assert dumped(path, "imagens", plugins=True) == rows.tobytes()


# Mean and deviation


def moments(samples: Any) -> tuple[Array, Array]:
    values = np.concatenate([np.asarray(s, np.float64).reshape(-1, s.shape[-1]) for s in samples])
    return values.mean(axis=0), values.std(axis=0)


def assert_measured(file: h5py.File, samples: Any, of: str) -> None:
    for name, expected in zip(("mean", "std"), moments(samples), strict=True):
        np.testing.assert_allclose(file[name][:], expected, rtol=1e-12)
        assert file[name].attrs["measured"].decode() == of
        assert f"`{of}`" in PAGE


@pytest.mark.parametrize("name", ["pixels", "lossless", "gzip"])
def test_mean_and_deviation_are_those_of_numpy(packed: Packed, name: str) -> None:
    with h5py.File(packed.path(name)) as file:
        assert_measured(file, file["imagens"][:], "pixels as a reader decodes them")


def test_mean_and_deviation_of_jpegs_are_of_what_was_encoded(packed: Packed) -> None:
    with h5py.File(packed.path("jpeg")) as file, h5py.File(packed.path("pixels")) as raw:
        assert_measured(file, raw["imagens"][:], "pixels as they went into the JPEG encoder")


@pytest.mark.parametrize("name", ["jpeg", "encoded"])
def test_mean_and_deviation_are_of_decoded_pixels_if_decoding_is_checked(
    packed: Packed, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "checked.h5"
    celeiro.pack(packed.photos / "manifest.jsonl", path, check="decode", **STORES[name])
    with h5py.File(path) as file:
        pictures = [
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            for data in stored(file, "imagens")
        ]
        assert_measured(file, pictures, "pixels as a reader decodes them")


def test_nothing_is_measured_where_nothing_is_decoded(packed: Packed) -> None:
    with h5py.File(packed.path("encoded")) as file:
        assert not {"mean", "std"} & set(file)


# pyfive: HDF5 in pure Python, sharing no code with the library that wrote the files


def test_pyfive_reads_attributes_and_all_that_is_not_in_chunks(anyone: Path) -> None:
    with h5py.File(anyone) as file, pyfive.File(anyone) as other:
        assert {name: other.attrs[name] for name in other.attrs} == dict(file.attrs)
        plain = dict(auxiliary(file))
        if file[data_key(file)].chunks is None:
            plain[data_key(file)] = file[data_key(file)]
        for name, data in plain.items():
            assert other[name].shape == data.shape
            assert other[name].dtype == data.dtype
            if data.size:
                assert np.array_equal(other[name][:], data[:])
            assert dict(other[name].attrs) == dict(data.attrs)


@pytest.mark.parametrize("name", ["jpeg", "lossless"])
def test_chunks_are_found_with_pyfive_and_the_index_alone(packed: Packed, name: str) -> None:
    # pyfive 1 cannot read fixed arrays, and need not.
    raw = packed.path(name).read_bytes()
    with pyfive.File(packed.path(name)) as other:
        parts = [raw[start : start + size] for start, size in other["celeiro/index"][:].tolist()]
        assert [crc32c(part) for part in parts] == other["celeiro/crc32c"][:].tolist()
    with h5py.File(packed.path(name)) as file:
        assert parts == stored(file, "imagens")


def test_pyfive_finds_contiguous_samples_where_h5py_does(packed: Packed) -> None:
    for name in ("pixels", "encoded"):
        with pyfive.File(packed.path(name)) as other:
            assert other["imagens"].id.data_offset == 4096


# h5dump of HDF5 1.10

needs_h5dump = pytest.mark.skipif(
    H5DUMP is None, reason="h5dump is not installed (Debian: apt install hdf5-tools)"
)
# The plugins that h5py loads: built for any HDF5 from 1.8 on.
PLUGINS = {"HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH}


def h5dump(*words: str | Path, plugins: bool = False) -> str:
    env = {"PATH": "/usr/bin:/bin", **(PLUGINS if plugins else {})}
    done = subprocess.run(
        [str(H5DUMP), *map(str, words)], env=env, check=True, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def dumped(tmp_path: Path) -> Callable[..., bytes]:
    """The bytes of a data set, as h5dump writes them."""

    def dump(path: Path, name: str, *, plugins: bool = False) -> bytes:
        out = tmp_path / "dump.bin"
        h5dump("-d", f"/{name}", "-b", "LE", "-o", out, path, plugins=plugins)
        return out.read_bytes()

    return dump


@needs_h5dump
def test_h5dump_prints_the_header_of_every_file(anyone: Path) -> None:
    text = h5dump("-H", "-p", anyone)
    with h5py.File(anyone) as file:
        names = {name.rpartition("/")[2] for name in objects(file)} - {""}
    assert names == {n for n in re.findall(r'(?:GROUP|DATASET) "(.*)"', text) if n != "/"}
    assert "VARIABLE" not in text
    assert "SUPERBLOCK_VERSION 3" in h5dump("-H", "-B", anyone)


@needs_h5dump
def test_h5dump_reads_every_data_set_that_is_not_in_chunks(
    anyone: Path, dumped: Callable[..., bytes]
) -> None:
    with h5py.File(anyone) as file:
        # h5dump ends a string of fixed length at its first zero byte, so numbers only.
        names = [name for name, data in auxiliary(file).items() if data.dtype.kind != "S"]
        names += [data_key(file)] if file[data_key(file)].chunks is None else []
        small = [name for name in names if file[name].size][:6] + names[-1:]
        for name in small:
            assert dumped(anyone, name) == file[name][:].tobytes()


@needs_h5dump
@pytest.mark.parametrize("name", ["lossless", "gzip"])
def test_h5dump_reads_lossless_chunks(
    packed: Packed, name: str, dumped: Callable[..., bytes]
) -> None:
    path = packed.path(name)
    with h5py.File(path) as file:
        pixels = dumped(path, "imagens", plugins=name == "lossless")
        assert pixels == file["imagens"][:].tobytes()
        assert dumped(path, "fields/mask", plugins=True) == file["fields/mask"][:].tobytes()


@needs_h5dump
def test_h5dump_prints_numbers_and_texts_as_they_are(packed: Packed) -> None:
    path = packed.path("jpeg")
    assert "(0): 0, 1, 0, 1, 0, 1" in h5dump("-d", "/labels", path)
    assert '(0): "cat", "dog"' in h5dump("-d", "/label_names", path)
    assert '(0): "jpeg"' in h5dump("-a", "/celeiro_store", path)
    with h5py.File(path) as file:
        crcs = file["celeiro/crc32c"][:].tolist()
        printed = h5dump("-d", "/celeiro/crc32c", "-w", "0", path)
        assert re.search(r"\(0\): ([\d, ]+)", printed)[1] == ", ".join(map(str, crcs))


@needs_h5dump
def test_the_page_shows_what_h5dump_prints() -> None:
    shown = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)[1]
    for excerpt in shown.strip().split("\n\n"):
        name = re.match(r'HDF5 "(.*)" \{', excerpt)[1]
        printed = iter(h5dump("-H", "-p", ROOT / "tests" / "golden" / name).splitlines())
        for line in excerpt.splitlines()[1:]:
            wanted = line.strip().replace('DATASET "/', 'DATASET "')
            assert wanted in map(str.strip, printed), (
                f"{name}: {wanted} is not printed, or not there"
            )
