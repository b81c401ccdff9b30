"""Every store against its decoded sources, through `celeiro.pack`."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import cv2
import h5py
import hdf5plugin  # noqa: F401  (reads `lossless`)
import numpy as np
import pytest
from PIL import Image

import celeiro
from celeiro.errors import OptionError, PictureError, SourceError
from celeiro.format import layout
from celeiro.packing import job as job_module
from celeiro.packing import recipe as module
from celeiro.packing.options import PackOptions
from celeiro.packing.pack import prepare
from celeiro.packing.pipeline import Budget
from celeiro.packing.recipe import FilesOnDisk, SizedRecipe

FLAGS = {
    "RGB": cv2.IMREAD_COLOR_RGB,
    "BGR": cv2.IMREAD_COLOR_BGR,
    "GRAY": cv2.IMREAD_GRAYSCALE,
}


def smooth(part, size):
    """What OpenCV's own filters give, an axis that shrinks before one that grows."""
    height, width = min(size[0], part.shape[0]), min(size[1], part.shape[1])
    part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(part, size[::-1], interpolation=cv2.INTER_LINEAR)


def framed(image, size, mode):
    """A picture in its frame, reckoned in another way than `resize.place` does."""
    (height, width), (h, w) = image.shape[:2], size
    if mode == "stretch":
        return smooth(image, size)
    if mode == "crop":
        scale = min(height / h, width / w)
        part = round(h * scale), round(w * scale)
        top, left = (height - part[0]) // 2, (width - part[1]) // 2
        return smooth(image[top : top + part[0], left : left + part[1]], size)
    scale = min(h / height, w / width, 1.0 if mode == "fit" else 99.0)
    inside = round(height * scale), round(width * scale)
    top, left = (h - inside[0]) // 2, (w - inside[1]) // 2
    frame = np.zeros((*size, *image.shape[2:]), image.dtype)
    frame[top : top + inside[0], left : left + inside[1]] = smooth(image, inside)
    return frame


def png(image) -> bytes:
    """`image` is RGB, RGBA, or grey of 8 or 16 bits."""
    if image.ndim == 3:
        image = image[..., [2, 1, 0, 3][: image.shape[2]]]
    return cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes()


def jpeg(image, quality, subsampling="420") -> bytes:
    """By libjpeg, as OpenCV drives it; `image` is (H, W, 3) RGB or (H, W, 1)."""
    sampling = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{subsampling}")
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    image = image[..., ::-1] if image.shape[2] == 3 else image
    return cv2.imencode(".jpg", np.ascontiguousarray(image), options)[1].tobytes()


def pixels_of(data: bytes, color="RGB"):
    image = cv2.imdecode(np.frombuffer(data, np.uint8), FLAGS[color])
    return image.reshape(*image.shape[:2], -1)


@pytest.fixture
def packed(tmp_path):
    """Pack and open: `packed(source, size=8)["imagens"]`."""
    files = []

    def make(source, **options):
        path = celeiro.pack(source, tmp_path / f"out{len(files)}.h5", **options).path
        files.append(h5py.File(path))
        return files[-1]

    yield make
    for file in files:
        file.close()


@pytest.fixture
def table(tmp_path):
    """Write a manifest of JSON objects beside the pictures that they name."""

    def make(rows, **pictures):
        for name, data in pictures.items():
            (tmp_path / name).write_bytes(data)
        path = tmp_path / "set.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return make


# Pixels


@pytest.mark.parametrize("size", [(16, 24), (64, 96), (20, 60)], ids=str)
@pytest.mark.parametrize("mode", ["stretch", "fit", "crop", "pad"])
def test_pixels_are_those_of_opencv(photo_folder, packed, mode, size):
    folder = photo_folder(2)
    stored = packed(folder, size=size, resize=mode)["imagens"]
    for number, name in enumerate(("cat.0.jpg", "dog.1.jpg")):
        image = cv2.imread(str(folder / name), cv2.IMREAD_COLOR_RGB)
        assert np.array_equal(stored[number], framed(image, size, mode))


@pytest.mark.parametrize("store", ["pixels", "lossless"])
@pytest.mark.parametrize("color", ["RGB", "BGR", "GRAY"])
def test_every_order_of_channels_is_stored_exactly(photo_folder, packed, store, color):
    folder = photo_folder(3, kind="png")
    file = packed(folder, size=(20, 20), store=store, color=color)
    for number, name in enumerate(("cat.0.png", "cat.2.png", "dog.1.png")):
        image = cv2.imread(str(folder / name), FLAGS[color]).reshape(40, 48, -1)
        expected = framed(image, (20, 20), "stretch").reshape(20, 20, -1)
        assert np.array_equal(file["imagens"][number], expected)
    assert file.attrs[layout.ATTR_COLOR] == color.encode()


@pytest.mark.parametrize("compressor", ["zstd", "gzip"])
def test_lossless_gives_back_every_bit(photo_folder, packed, compressor):
    folder = photo_folder(2, kind="png")
    stored = packed(folder, store="lossless", compressor=compressor)["imagens"]
    assert np.array_equal(stored[1], cv2.imread(str(folder / "dog.1.png"), cv2.IMREAD_COLOR_RGB))


def test_without_a_size_all_pictures_must_be_as_the_first(photo_folder, packed):
    folder = photo_folder(3)
    assert packed(folder, store="pixels")["imagens"].shape == (3, 40, 48, 3)
    (folder / "dog.9.png").write_bytes(png(np.zeros((9, 8, 3), np.uint8)))
    with pytest.raises(PictureError, match="dog.9.png: its size is 9x8, .* as the first, 40x48. G"):
        packed(folder, store="pixels")


def test_statistics_are_those_of_what_is_stored(photo_folder, packed):
    file = packed(photo_folder(5), size=16)
    values = file["imagens"][:].reshape(-1, 3).astype(np.float64)
    assert np.allclose(file["mean"], values.mean(0), rtol=1e-12)
    assert np.allclose(file["std"], values.std(0), rtol=1e-12)
    assert file["mean"].attrs["measured"] == layout.MEASURED_STORED.encode()


# JPEG


@pytest.mark.parametrize("color", ["RGB", "GRAY"])
@pytest.mark.parametrize(("quality", "subsampling"), [(90, "420"), (75, "444"), (40, "422")])
def test_a_chunk_is_libjpegs_of_exactly_those_pixels(
    photo_folder, packed, color, quality, subsampling
):
    folder = photo_folder(2)
    pixels = packed(folder, size=24, color=color)["imagens"][1]
    options = {"quality": quality, "subsampling": subsampling}
    stored = packed(folder, size=24, store="jpeg", color=color, **options)["imagens"]
    chunk = stored.id.read_direct_chunk((1, 0, 0, 0))[1]
    decoded = pixels_of(chunk, color)
    assert np.array_equal(decoded, pixels_of(jpeg(pixels, quality, subsampling), color))
    assert np.array_equal(decoded, stored[1])


def test_check_decode_measures_what_comes_out_of_the_jpegs(photo_folder, packed):
    folder = photo_folder(4)
    before = packed(folder, size=16, store="jpeg", quality=30)
    after = packed(folder, size=16, store="jpeg", quality=30, check="decode")
    values = after["imagens"][:].reshape(-1, 3).astype(np.float64)
    assert np.allclose(after["mean"], values.mean(0), rtol=1e-12)
    assert np.allclose(after["std"], values.std(0), rtol=1e-12)
    pixels = packed(folder, size=16)
    assert np.array_equal(before["mean"], pixels["mean"])
    assert before["mean"].attrs["measured"] == layout.MEASURED_INPUT.encode()
    assert after["mean"].attrs["measured"] == layout.MEASURED_STORED.encode()


# Encoded


def rotated(orientation: int, image) -> bytes:
    """A JPEG that says how it is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", exif=exif)
    return out.getvalue()


def samples(file, name="imagens"):
    """The files that an `encoded` data set holds."""
    offsets = file[f"{name}_offsets"][:].tolist()
    return [file[name][start:stop].tobytes() for start, stop in pairwise(offsets)]


def test_encoded_keeps_bytes_shapes_and_orientations(tmp_path, packed):
    sources = {f"{o}.jpg": rotated(o, np.zeros((10 + o, 30, 3), np.uint8)) for o in range(1, 9)}
    for name, data in sources.items():
        (tmp_path / name).write_bytes(data)
    file = packed(tmp_path)
    assert samples(file) == list(sources.values())
    assert file["imagens_orientations"][:].tolist() == list(range(1, 9))
    expected = [cv2.imread(str(tmp_path / name)).shape for name in sources]
    assert file["imagens_shapes"][:].tolist() == [list(shape) for shape in expected]
    assert "mean" not in file
    assert "imagens_reencoded" not in file


def test_max_side_shrinks_only_the_larger_and_marks_them(photo_folder, packed):
    folder = photo_folder(2, size=(40, 60))
    small = png(np.full((20, 30, 3), 9, np.uint8))
    (folder / "cat.small.png").write_bytes(small)
    (folder / "dog.turned.jpg").write_bytes(rotated(6, np.zeros((40, 60, 3), np.uint8)))
    file = packed(folder, max_side=30, quality=80, check="decode")
    assert file["keys"][:].tobytes().count(b"small") == 1
    assert file["imagens_reencoded"][:].tolist() == [1, 0, 1, 1]
    shapes = [[20, 30, 3], [20, 30, 3], [20, 30, 3], [30, 20, 3]]
    assert file["imagens_shapes"][:].tolist() == shapes
    assert file["imagens_orientations"][:].tolist() == [1, 1, 1, 1]
    stored = samples(file)
    assert stored[1] == small
    image = cv2.imread(str(folder / "cat.0.jpg"), cv2.IMREAD_COLOR_RGB)
    shrunk = framed(image, (20, 30), "stretch")
    assert np.array_equal(pixels_of(stored[0]), pixels_of(jpeg(shrunk, 80)))
    values = np.concatenate([pixels_of(data).reshape(-1, 3) for data in stored])
    assert np.allclose(file["mean"], values.mean(0, np.float64), rtol=1e-12)


def test_check_decode_finds_what_the_header_does_not_tell(photo_folder, packed):
    folder = photo_folder(4)
    whole = (folder / "cat.2.jpg").read_bytes()
    middle = len(whole) - 60
    (folder / "cat.2.jpg").write_bytes(whole[:middle] + b"\xff\xd9" + whole[middle + 2 :])
    assert len(packed(folder)["labels"]) == 4
    file = packed(folder, check="decode", on_error="skip")
    assert file["label_names"][:].tolist() == [b"cat", b"dog"]
    assert file["labels"][:].tolist() == [0, 1, 1]
    assert file["mean"].shape == (3,)


# Masks and boxes

SQUARE = slice(12, 28), slice(30, 46)
BOX = [30.0, 12.0, 46.0, 28.0]


@cache
def square(dtype: str = "uint8", value: int = 255):
    image = np.zeros((40, 60), dtype)
    image[SQUARE] = value
    return image


def corners(image) -> list[int]:
    """x1, y1, x2, y2 of what is bright."""
    rows, columns = np.nonzero(image)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("mode", ["stretch", "fit", "crop", "pad"])
@pytest.mark.parametrize("size", [(20, 20), (80, 90)], ids=str)
def test_picture_mask_and_box_stay_together(table, packed, mode, size):
    source = table(
        [{"path": "a.png", "mask": "m.png", "boxes": [BOX]}],
        **{"a.png": png(np.dstack([square()] * 3)), "m.png": png(square(value=7))},
    )
    file = packed(source, size=size, resize=mode)
    mask = file["fields/mask"][0]
    assert set(np.unique(mask)) == {0, 7}
    picture = corners(file["imagens"][0, ..., 0] > 127)
    assert np.abs(np.subtract(corners(mask), picture)).max() <= 1
    assert np.abs(file["fields/boxes"][0] - corners(mask)).max() <= 1
    assert file["fields/boxes_offsets"][:].tolist() == [0, 1]


def palette_png(indices) -> bytes:
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("mask", "dtype"),
    [
        (palette_png(square(value=21)), "uint8"),
        (png(square("uint16", 40_000)), "uint16"),
        (png(square(value=200)), "uint8"),
    ],
    ids=["palette", "16 bits", "grey"],
)
@pytest.mark.parametrize("store", ["pixels", "jpeg", "lossless"])
def test_masks_keep_their_values_beside_every_store(table, packed, store, mask, dtype):
    values = {"uint16": {0, 40_000}}.get(dtype)
    picture = png(np.zeros((40, 60, 3), np.uint8))
    rows = [{"path": "a.png", "mask": "m.png"}] * 2
    file = packed(table(rows, **{"a.png": picture, "m.png": mask}), size=(20, 30), store=store)
    stored = file["fields/mask"]
    assert (stored.shape, stored.dtype) == ((2, 20, 30), dtype)
    assert set(np.unique(stored[:])) == (values or {0, int(stored[:].max())})
    assert stored[1].max() in (21, 200, 40_000)
    assert np.array_equal(stored[0] > 0, square()[1::2, 1::2] > 0)


def test_masks_of_encoded_pictures_stay_their_own_bytes(table, packed):
    mask = palette_png(square(value=3))
    source = table(
        [{"path": "a.png", "mask": "m.png"}] * 2,
        **{"a.png": png(np.dstack([square()] * 3)), "m.png": mask},
    )
    file = packed(source)
    assert samples(file, "fields/mask") == [mask, mask]
    assert file["fields/mask_shapes"][:].tolist() == [[40, 60, 1]] * 2
    assert file["celeiro/mask_crc32c"].shape == (2,)


@pytest.mark.parametrize(
    "mask", [square(value=3), square("uint16", 999), np.dstack([square()] * 2 + [square() * 0])]
)
def test_max_side_takes_masks_and_boxes_along(table, packed, mask):
    source = table(
        [{"path": "a.png", "mask": "m.png", "boxes": [BOX]}],
        **{"a.png": png(np.dstack([square()] * 3)), "m.png": png(mask)},
    )
    file = packed(source, max_side=30)
    assert file["fields/mask_reencoded"][:].tolist() == [1]
    assert file["fields/mask_shapes"][0].tolist() == [20, 30, 3 if mask.ndim == 3 else 1]
    data = np.frombuffer(samples(file, "fields/mask")[0], np.uint8)
    flag = cv2.IMREAD_COLOR_RGB if mask.ndim == 3 else cv2.IMREAD_UNCHANGED
    assert np.array_equal(cv2.imdecode(data, flag), mask[1::2, 1::2])
    assert file["fields/boxes"][0].tolist() == [15, 6, 23, 14]


def float_tiff() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((40, 60), np.float32)).save(out, "TIFF")
    return out.getvalue()


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (png(np.zeros((4, 6), np.uint8)), {"size": 8}, "m.png: it is 4x6, and the picture 40x60"),
        (png(np.zeros((4, 6), np.uint8)), {}, "m.png: it is 4x6, and the picture 40x60"),
        (
            png(square("uint16", 9)),
            {"size": 8},
            "m.png: it holds uint16 .* first mask uint8 with 1",
        ),
        (png(np.dstack([square()] * 3)), {"size": 8}, "m.png: it holds uint8 with 3 channels"),
        (b"", {"size": 8}, "m.png: empty file"),
        (b"<html>", {}, "m.png: not a picture"),
        (None, {"size": 8}, r"m.png: cannot be read \(No such file"),
        (None, {}, r"m.png: cannot be read \(No such file"),
        (float_tiff(), {"max_side": 30}, "m.png: it holds float32, and a PNG, which --max-side"),
    ],
    ids="size size-encoded dtype channels empty html gone gone-encoded float".split(),
)
def test_a_mask_that_does_not_fit_names_itself(table, tmp_path, mask, options, message):
    rows = [{"path": "a.png", "mask": "good.png"}, {"path": "b.png", "mask": "m.png"}]
    picture = png(np.dstack([square()] * 3))
    files = {"a.png": picture, "b.png": picture, "good.png": png(square(value=1))}
    files |= {} if mask is None else {"m.png": mask}
    report = celeiro.pack(table(rows, **files), tmp_path / "o.h5", on_error="skip", **options)
    assert report.samples == 1
    (name, reason), *others = report.refused
    assert (name, others) == ("b.png", [])
    with pytest.raises(PictureError, match=f"its mask {message}"):
        raise PictureError(reason)


def test_boxes_are_ragged_and_rows_may_have_none(table, packed):
    boxes = [[[0, 0, 60, 40], BOX], [], [[30, 20, 90, 80]]]
    rows = [{"path": "a.png", "boxes": some} for some in boxes]
    file = packed(table(rows, **{"a.png": png(np.dstack([square()] * 3))}), size=(20, 120))
    assert file["fields/boxes_offsets"][:].tolist() == [0, 2, 2, 3]
    expected = [[0, 0, 120, 20], [60, 6, 92, 14], [60, 10, 120, 20]]  # held inside the frame
    assert file["fields/boxes"][:].tolist() == expected


def test_boxes_of_encoded_pictures_stay_as_they_are(table, packed):
    rows = [{"path": "a.png", "boxes": [BOX]}, {"path": "a.png", "boxes": []}]
    file = packed(table(rows, **{"a.png": png(np.dstack([square()] * 3))}))
    assert file["fields/boxes"][:].tolist() == [BOX]


# What a manifest tells beside

ROWS = [
    {"path": "a.png", "labels": ["sea", "sky"], "age": 3, "weight": 1.5, "wild": True,
     "rótulo": "águia", "pose": [1, 2], "words": [1, 2, 3]},
    {"path": "b.png", "labels": ["sea"], "age": -4, "weight": 2.0, "wild": False,
     "rótulo": "ção", "pose": [3, 4], "words": []},
    {"path": "c.png", "labels": [], "age": 5, "weight": 0.25, "wild": False,
     "rótulo": "", "pose": [5, 6], "words": [7]},
]  # fmt: skip


def write_csv(path, rows):
    def cell(value):
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return "|".join(value) or "[]"
        return json.dumps(value, ensure_ascii=False).strip('"')

    lines = ["\t".join(rows[0])] + ["\t".join(map(cell, row.values())) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_json_lines(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))


def write_parquet(path, rows):
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("s.tsv", write_csv), ("s.jsonl", write_json_lines), ("s.parquet", write_parquet)],
)
def test_every_kind_of_column_reaches_the_file(tmp_path, packed, name, write):
    for number, row in enumerate(ROWS):
        (tmp_path / row["path"]).write_bytes(png(np.full((8, 8, 3), number, np.uint8)))
    (tmp_path / "b.png").write_bytes(b"")  # its row goes, and every column closes up
    write(tmp_path / name, [{**row, "path": row["path"]} for row in ROWS])
    file = packed(tmp_path / name, size=8, on_error="skip")
    assert file["imagens"][:, 0, 0, 0].tolist() == [0, 2]
    assert file["label_names"][:].tolist() == [b"sea", b"sky"]
    assert (file["labels"].dtype, file["labels"][:].tolist()) == (np.uint8, [[1, 1], [0, 0]])
    fields = file["fields"]
    assert fields["age"][:].tolist() == [3, 5]
    assert fields["weight"][:].tolist() == [1.5, 0.25]
    assert fields["wild"][:].tolist() == [1, 0]
    assert fields["rótulo"][:].tolist() == ["águia".encode(), b""]
    assert fields["pose"][:].tolist() == [[1, 2], [5, 6]]
    assert fields["words"][:].tolist() == [1, 2, 3, 7]
    assert fields["words_offsets"][:].tolist() == [0, 3, 4]


@pytest.mark.parametrize(
    ("labels", "dtype", "names"),
    [([0.5, -1.25], "<f8", None), ([7, 3], "<i8", None), (["b", "a"], "<i8", [b"a", b"b"])],
)
def test_targets_are_numbers_classes_or_values(table, packed, labels, dtype, names):
    rows = [{"path": "a.png", "label": label} for label in labels]
    file = packed(table(rows, **{"a.png": png(np.zeros((8, 8, 3), np.uint8))}), size=8)
    assert file["labels"].dtype.str == dtype
    assert file["labels"][:].tolist() == ([1, 0] if names else labels)
    assert (file["label_names"][:].tolist() if "label_names" in file else None) == names


# Every case of docs/pictures.md


def photo(height=41, width=57):
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(columns / 7), np.cos(rows / 5), np.sin((rows + columns) / 9)]
    return (np.stack(waves, -1) * 100 + 128).astype(np.uint8)


def pil(kind, mode=None, image=None, **options):
    picture = Image.fromarray(photo() if image is None else image)
    out = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(out, kind, **options)
    return out.getvalue()


def wide_png(height, width):
    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")


JPEG = pil("JPEG")
PNG = pil("PNG")
OTHER = [Image.fromarray(photo()[::-1].copy())]

# Name of the file, its bytes, and why it is refused: None if packed, one reason for all stores, or
# "" and the reason of those that decode.
CASES = {
    "empty.jpg": (b"", "empty file"),
    "html.jpg": (b"<html><body>404", "not a picture: begins with b'<html><body>404'"),
    "random.jpg": (bytes(range(7, 207)), "not a picture"),
    "jpeg2000.jpg": (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 99, "not a picture"),
    "really-a-png.jpg": (PNG, None),
    "cut.jpg": (JPEG[: len(JPEG) // 2], "cut short"),
    "cut.png": (PNG[: len(PNG) // 2], "cut short"),
    "cut.gif": (pil("GIF")[:-20], "cut short"),
    "cut.webp": (pil("WEBP")[:-20], "cut short"),
    "cut.bmp": (pil("BMP")[:-20], "cut short"),
    "cut.tiff": (pil("TIFF")[:-20], "cut short|damaged"),
    "damaged.jpg": (JPEG[:-200] + b"\xff\xd9" * 100, ("", "damaged jpeg")),
    "damaged.png": (PNG[:-30] + b"\0" + PNG[-29:], ("", "damaged png: the checksum")),
    "junk-after-the-end.jpg": (JPEG + b"\0junk" * 99, None),
    "old-jfif.jpg": (JPEG.replace(b"JFIF\0\1\1", b"JFIF\0\0\0"), None),
    "bomb.png": (wide_png(20_000, 20_000), "400,000,000 pixels .* more than the limit"),
    "long.png": (wide_png(1, 1_048_577), "1,048,576|1048576"),
    "grey.jpg": (pil("JPEG", "L"), None),
    "cmyk.jpg": (pil("JPEG", "CMYK"), None),
    "progressive.jpg": (pil("JPEG", progressive=True), None),
    "16-bits.png": (png(photo().astype(np.uint16) * 257), None),
    "float.tiff": (pil("TIFF", image=np.zeros((9, 9), np.float32)), ("", "a TIFF of 32 bits")),
    "palette.png": (pil("PNG", "P"), None),
    "palette.gif": (pil("GIF"), None),
    "alpha.png": (pil("PNG", "RGBA"), None),
    "animated.gif": (pil("GIF", save_all=True, append_images=OTHER), None),
    "animated.webp": (pil("WEBP", save_all=True, append_images=OTHER, lossless=True), None),
    "pages.tiff": (pil("TIFF", save_all=True, append_images=OTHER), None),
    "picture.bmp": (pil("BMP"), None),
    "picture.avif": (pil("AVIF"), None),
    "1x1.png": (png(np.zeros((1, 1, 3), np.uint8)), None),
    "thin.png": (png(np.zeros((1, 20_000, 3), np.uint8)), None),
    "turned.jpg": (rotated(6, photo()), None),
    "broken-exif.jpg": (JPEG[:2] + b"\xff\xe1\0\x10Exif\0\0MM\0*junk" + JPEG[2:], None),
    "águia e ção.jpg": (JPEG, None),
    "same.jpg": (JPEG, None),
    "same too.jpg": (JPEG, None),
}


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    folder = tmp_path_factory.mktemp("awkward")
    for name, (data, _) in CASES.items():
        (folder / name).write_bytes(data)
    (folder / "folder.jpg").mkdir()
    for name in (".DS_Store", "._cat.jpg", "notes.txt", "folder.jpg/inside.jpg"):
        (folder / name).write_bytes(JPEG)
    return folder


@pytest.mark.parametrize("store", ["pixels", "jpeg", "lossless", "encoded"])
def test_awkward_pictures_are_packed_or_refused_as_the_docs_say(awkward, tmp_path, store, subtests):
    options = {} if store == "encoded" else {"size": 8}
    report = celeiro.pack(
        awkward, tmp_path / "o.h5", store=store, labels="none", on_error="skip", **options
    )
    refused = dict(report.refused)
    for name, (_, reason) in CASES.items():
        with subtests.test(name):
            if isinstance(reason, tuple):
                reason = reason[store != "encoded"]
            if reason:
                with pytest.raises(PictureError, match=reason):
                    raise PictureError(refused.get(name, "packed"))
            else:
                assert name not in refused
    assert report.samples + len(refused) == len(CASES) + 1
    assert report.ignored == 3


def test_awkward_pictures_have_the_pixels_of_opencv(awkward, packed, subtests):
    file = packed(awkward, size=8, labels="none", on_error="skip")
    keys, offsets = file["keys"][:].tobytes(), file["keys_offsets"][:].tolist()
    names = [keys[start:stop].decode() for start, stop in pairwise(offsets)]
    for row, name in enumerate(names):
        with subtests.test(name):
            data = np.fromfile(awkward / name, np.uint8)
            image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
            assert np.array_equal(file["imagens"][row], framed(image, (8, 8), "stretch"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_names_are_bytes_and_links_are_followed(tmp_path, packed):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "to-a.jpg").symlink_to("a.jpg")
    (tmp_path / "to-nothing.jpg").symlink_to("gone.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb") as file:
        file.write(JPEG)
    report = celeiro.pack(tmp_path, tmp_path / "o.h5", labels="none", on_error="skip")
    assert report.refused == [("to-nothing.jpg", "cannot be read (No such file or directory)")]
    with h5py.File(report.path) as file:
        keys = file["keys"][:].tobytes()
    assert all(name in keys for name in (b"a.jpg", b"caf\xe9.jpg", b"to-a.jpg"))


def test_not_one_good_picture_is_an_error_that_says_why(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(SourceError, match=r"not one picture could be packed: a.jpg: empty file"):
        celeiro.pack(tmp_path, tmp_path / "o.h5", on_error="skip")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


# What belongs to arrays, or to files


def test_what_is_for_arrays_is_refused_for_files_and_the_other_way_round(photo_folder, tmp_path):
    with pytest.raises(OptionError, match="label_names .* files have names"):
        celeiro.pack(photo_folder(2), tmp_path / "o.h5", label_names=["a", "b"])
    with pytest.raises(OptionError, match="label_pattern .* arrays have no paths"):
        celeiro.pack(np.zeros((2, 4)), tmp_path / "o.h5", label_pattern="(x)")


# Memory: large pictures take turns


def test_a_budget_makes_large_requests_wait_and_small_ones_not():
    budget = Budget(100)
    first = budget.take(60)
    assert_waits(lambda: budget.take(50), until=lambda: first.__exit__())
    with budget.take(0), budget.take(40):
        pass


def test_a_request_beyond_the_budget_is_granted_alone():
    budget = Budget(100)
    small = budget.take(1)
    large = assert_waits(lambda: budget.take(10_000), until=lambda: small.__exit__())
    assert_waits(lambda: budget.take(1), until=lambda: large.__exit__())


def assert_waits(take, *, until):
    """See that `take` only returns once `until` was called; give what it returns."""
    got = threading.Event()

    def wait():
        grant = take()
        got.set()
        return grant

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(wait)
        assert not got.wait(0.02)
        until()
        return future.result(timeout=10)


class Counting:
    """A budget that notes what it is asked for."""

    def __init__(self, total):
        self.budget = Budget(total)
        self.asked = []

    def take(self, size):
        self.asked.append(size)
        return self.budget.take(size)


def test_only_large_pictures_ask_by_their_headers(tmp_path):
    (tmp_path / "a.png").write_bytes(png(np.zeros((1800, 1900, 3), np.uint8)))  # 12 KB of file
    (tmp_path / "b.jpg").write_bytes(JPEG)
    job = prepare(tmp_path, PackOptions("pixels", size=(8, 8)))
    budget = Counting(1 << 30)
    files = FilesOnDisk(job.plan.listing)
    recipe = SizedRecipe(job.plan, job.codec, files, budget=budget)
    for task in range(2):
        recipe.make(task, None)
    assert budget.asked == [1800 * 1900 * 3, 0]


def test_once_interrupted_no_large_picture_that_waits_is_decoded_any_more(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    for name in "bcd":
        (tmp_path / f"{name}.png").write_bytes(png(np.zeros((1800, 1900, 3), np.uint8)))
    monkeypatch.setattr(module, "_BUDGET", 12_000_000)
    original, in_order = module.pictures.decode, job_module.in_order
    begun, stops, large = threading.Event(), [], []

    def with_stop(*arguments, **options):
        stops.append(options["stop"])
        return in_order(*arguments, **options)

    def decode(data, **options):
        if data != JPEG:
            large.append(1)
            begun.set()
            assert stops[0].wait(10)  # the picture in hand when Ctrl-C comes
        return original(data, **options)

    def interrupt(progress):
        if progress.done:
            assert begun.wait(10)
            time.sleep(0.02)  # so that the others come to wait
            raise KeyboardInterrupt

    monkeypatch.setattr(job_module, "in_order", with_stop)
    monkeypatch.setattr(module.pictures, "decode", decode)
    with pytest.raises(KeyboardInterrupt):
        celeiro.pack(
            tmp_path, tmp_path / "o.h5", size=8, workers=4, buffer_size=8, on_progress=interrupt
        )
    assert large == [1]


def test_large_pictures_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    large = png(np.zeros((1800, 1900, 3), np.uint8))
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(large)
    job = prepare(tmp_path, PackOptions("pixels", size=(8, 8)))
    files = FilesOnDisk(job.plan.listing)
    recipe = SizedRecipe(job.plan, job.codec, files, budget=Budget(12_000_000))
    original, inside, most = module.pictures.decode, [], []

    def decode(*arguments, **options):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.005)  # so that another could come in
        try:
            return original(*arguments, **options)
        finally:
            inside.pop()

    monkeypatch.setattr(module.pictures, "decode", decode)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda task: recipe.make(task, None), range(4)))
    assert most == [1, 1, 1, 1]
