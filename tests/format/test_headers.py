"""What a picture file says of itself, in each kind's own words and in damaged ones."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from celeiro.errors import PictureError
from celeiro.format.headers import EXTENSIONS, Header, check, read_header

GREY = np.zeros((3, 5), np.uint8)
RGB = np.zeros((3, 5, 3), np.uint8)
RGBA = np.zeros((3, 5, 4), np.uint8)


def pil(image: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    picture = Image.fromarray(image)
    if mode is not None:
        picture = picture.convert(mode)
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


TOLD = {
    "jpeg": (pil(RGB, "JPEG"), 3, 8),
    "jpeg grey": (pil(GREY, "JPEG"), 1, 8),
    "jpeg cmyk": (pil(RGB, "JPEG", "CMYK"), 4, 8),
    "png": (pil(RGB, "PNG"), 3, 8),
    "png palette": (pil(RGB, "PNG", "P"), 1, 8),
    "png 1 bit": (pil(RGB, "PNG", "1"), 1, 1),
    "png grey, alpha": (pil(RGB, "PNG", "LA"), 2, 8),
    "png alpha": (pil(RGBA, "PNG"), 4, 8),
    "png 16 bits": (pil(GREY.astype(np.uint16), "PNG"), 1, 16),
    "webp": (pil(RGB, "WEBP"), 3, 8),
    "webp lossless": (pil(RGB, "WEBP", lossless=True), 3, 8),
    "webp alpha": (pil(RGBA, "WEBP"), 4, 8),
    "webp lossless, alpha": (pil(RGBA, "WEBP", lossless=True), 4, 8),
    "bmp": (pil(RGB, "BMP"), 3, 8),
    "bmp alpha": (pil(RGBA, "BMP"), 4, 8),
    "bmp grey": (pil(GREY, "BMP"), 1, 8),
    "bmp 1 bit": (pil(RGB, "BMP", "1"), 1, 1),
    "gif": (pil(GREY, "GIF"), 1, 2),
    "tiff": (pil(RGB, "TIFF"), 3, 8),
    "tiff 1 bit": (pil(RGB, "TIFF", "1"), 1, 1),
    "tiff big": (pil(RGB, "TIFF", big_tiff=True), 3, 8),
    "tiff of floats": (pil(GREY.astype(np.float32), "TIFF"), 1, 32),
    "avif": (pil(RGB, "AVIF"), 3, 8),
    "avif grey": (pil(GREY, "AVIF"), 1, 8),
    "avif alpha": (pil(np.full((3, 5, 4), 99, np.uint8), "AVIF"), 4, 8),
}


@pytest.mark.parametrize("case", TOLD)
def test_a_header_tells_kind_size_channels_and_bits(case):
    data, channels, bits = TOLD[case]
    expected = Header(case.split()[0], 3, 5, channels, bits, 1)
    assert read_header(data) == check(data) == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_on_its_side_stands_upright_the_other_way(orientation):
    header = Header("jpeg", 3, 5, 3, 8, orientation)
    assert header.upright == ((3, 5) if orientation < 5 else (5, 3))


def test_extensions_are_lower_case_with_their_dot():
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tiff", ".avif"} < EXTENSIONS
    assert all(suffix == "." + suffix[1:].lower() for suffix in EXTENSIONS)


# EXIF


def exif(*entries: tuple[int, int, int, bytes], order: str = "<", start: int = 8) -> bytes:
    """Build a block of (tag, type, count, four bytes of value)."""
    rows = (struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start)
    return head + struct.pack(order + "H", len(entries)) + b"".join(rows) + bytes(4)


def turn(value: int, order: str = "<") -> tuple[int, int, int, bytes]:
    return 0x0112, 3, 1, struct.pack(order + "HH", value, 0)


def app1(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def in_jpeg(*segments: bytes) -> bytes:
    data = pil(RGB, "JPEG")
    return data[:2] + b"".join(segments) + data[2:]


def chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def in_png(*chunks: bytes, before: bytes = b"IDAT") -> bytes:
    data = pil(RGB, "PNG")
    at = data.index(before) - 4
    return data[:at] + b"".join(chunks) + data[at:]


def in_webp(block: bytes, flags: int = 0x08) -> bytes:
    size = (4).to_bytes(3, "little") + (2).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + size
    body += pil(RGB, "WEBP", lossless=True)[12:]
    body += b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


SIX = exif(turn(6))
E = b"Exif\0\0"

ORIENTED = {
    "little-endian": (in_jpeg(app1(E + SIX)), 6),
    "big-endian": (in_jpeg(app1(E + exif(turn(6, ">"), order=">"))), 6),
    "after XMP": (in_jpeg(app1(b"http://ns.adobe.com/xap/1.0/\0<x/>"), app1(E + SIX)), 6),
    "the first of two": (in_jpeg(app1(E + SIX), app1(E + exif(turn(3)))), 6),
    "the second, the first being none": (in_jpeg(app1(E + b"XX"), app1(E + SIX)), 6),
    "another mark than Exif": (in_jpeg(app1(b"Exif\0\xff" + SIX)), 1),
    "of no value": (in_jpeg(app1(E + exif(turn(0)))), 1),
    "of too large a value": (in_jpeg(app1(E + exif(turn(9)))), 1),
    "as a LONG": (in_jpeg(app1(E + exif((0x0112, 4, 1, b"\6\0\0\0")))), 6),
    "cut before its value": (in_jpeg(app1(E + SIX[:18])), 1),
    "cut in its directory": (in_jpeg(app1(E + SIX[:9])), 1),
    "cut in its head": (in_jpeg(app1(E + SIX[:5])), 1),
    "without the 42": (in_jpeg(app1(E + b"II\x2b\0" + SIX[4:])), 1),
    "a directory beyond it": (in_jpeg(app1(E + exif(turn(6), start=1 << 31))), 1),
    "after a text beyond it": (
        in_jpeg(app1(E + exif((0x010F, 2, 99, b"\xff\0\0\0"), turn(6)))),
        1,
    ),
    "after the scan": (pil(RGB, "JPEG")[:-2] + app1(E + SIX) + b"\xff\xd9", 1),
    "png": (in_png(chunk(b"eXIf", SIX)), 6),
    "png, after the pixels": (in_png(chunk(b"eXIf", SIX), before=b"IEND"), 6),
    "png, with a mark": (in_png(chunk(b"eXIf", E + SIX)), 1),
    "png, with a wrong sum": (in_png(chunk(b"eXIf", SIX)[:-1] + b"?"), 1),
    "webp": (in_webp(SIX), 6),
    "webp, with a mark": (in_webp(E + SIX), 1),
    "webp, not announced": (in_webp(SIX, flags=0), 1),
}


@pytest.mark.parametrize("case", ORIENTED)
def test_an_orientation_is_found_where_opencv_finds_it_and_nonsense_is_none(case):
    data, orientation = ORIENTED[case]
    assert check(data).orientation == orientation
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape[:2] == check(data).upright


# Where the end is


def bmp(width: int, height: int, depth: int, content: bytes, compression: int = 0) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, depth, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + info + content


def test_a_bmp_may_stand_on_its_feet_or_its_head():
    assert check(bmp(5, 3, 24, bytes(48))) == check(bmp(5, -3, 24, bytes(48)))
    with pytest.raises(PictureError, match="101 bytes, and its bmp header promises 102"):
        check(bmp(5, 3, 24, bytes(47)))


def test_a_bmp_of_os2_has_a_header_of_its_own():
    core = b"BM" + struct.pack("<IHHI", 0, 0, 0, 26) + struct.pack("<IHHHH", 12, 5, 3, 1, 24)
    assert check(core + bytes(48)) == check(bmp(5, 3, 24, bytes(48)))


def test_a_bmp_of_negative_width_is_refused():
    with pytest.raises(PictureError, match="at least 1"):
        check(bmp(-5, 3, 24, bytes(48)))


def test_run_lengths_of_a_bmp_have_no_length_to_be_held_against():
    check(bmp(5, 3, 8, b"\5\0\0\1", compression=1))


def test_a_gif_is_walked_to_its_trailer():
    data = pil(GREY, "GIF")
    for wrong in (data[:-1], data[:-1] + b"\0", data[:-1] + b"\0;"):
        with pytest.raises(PictureError):
            check(wrong)
    with pytest.raises(PictureError, match="without its end mark"):
        check(b"GIF89a" + struct.pack("<HHBBB", 5, 3, 0, 0, 0) + b"\x21\xff" + b"\xff" * 40)


def test_a_gif_frame_larger_than_its_canvas_is_refused():
    data = bytearray(pil(GREY, "GIF"))
    struct.pack_into("<HH", data, 6, 4, 3)
    with pytest.raises(PictureError, match="a frame of 3x5 at .0, 0. in a canvas of 3x4"):
        check(bytes(data))


def tiff(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    return exif(*entries, order=order)


def short(tag: int, value: int) -> tuple[int, int, int, bytes]:
    return tag, 3, 1, struct.pack("<HH", value, 0)


def long(tag: int, value: int, kind: int = 4) -> tuple[int, int, int, bytes]:
    return tag, kind, 1, struct.pack("<I", value)


SIZE = (short(256, 5), short(257, 3), short(258, 8))


BAD_TIFFS = {
    "no size": (tiff(short(256, 5)), "states no size"),
    "no strips": (tiff(*SIZE), "no strips and no tiles"),
    "a strip beyond": (tiff(*SIZE, long(273, 1 << 30), long(279, 45)), "promises 1,073,741,869"),
    "too long a strip": (tiff(*SIZE, long(273, 8), long(279, 2**32 - 1)), "s 4,294,967,303"),
    "too many strips": (tiff(*SIZE, (273, 4, 2**32 - 1, bytes(4))), "cut short"),
    "strips listed beyond": (tiff(*SIZE, (273, 4, 9, b"\xff\xff\xff\xff")), "cut short"),
    "strips as a text": (tiff(*SIZE, (273, 2, 1, bytes(4))), "no strips"),
    "strips of no number": (tiff(*SIZE, (273, 4, 0, bytes(4))), "no strips"),
    "cut in its directory": (tiff(*SIZE)[:-9], "cut short"),
    "its directory beyond": (b"II*\0\xff\xff\xff\xff", "cut short"),
    "big, its directory beyond": (b"II+\0\x08\0\0\0" + b"\xff" * 8, "cut short"),
    "big, entries without end": (
        b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 8,
        "cut short",
    ),
}


@pytest.mark.parametrize("case", BAD_TIFFS)
def test_a_tiff_is_held_against_the_end_of_its_file(case):
    data, reason = BAD_TIFFS[case]
    with pytest.raises(PictureError, match=reason):
        check(data)


def test_offsets_of_a_big_tiff_do_not_wrap_around():
    def entry(tag: int, value: int) -> bytes:
        return struct.pack("<HHQQ", tag, 16, 1, value)

    entries = [entry(256, 5), entry(257, 3), entry(273, 2**64 - 1), entry(279, 2**64 - 1)]
    data = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, len(entries)) + b"".join(entries)
    with pytest.raises(PictureError, match="promises"):
        check(data)


# AVIF and HEIC


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", len(body) + 8) + name + body


def ispe(height: int, width: int) -> bytes:
    return box(b"ispe", bytes(4), struct.pack(">II", width, height))


def still(
    *properties: bytes,
    items: bytes = struct.pack(">IHB5B", 1, 1, 5, 1, 2, 3, 4, 5),
    brand: bytes = b"heic",
    after: bytes = box(b"mdat"),
) -> bytes:
    """Build a file of item 1 and its properties, by default the first five."""
    iprp = box(b"iprp", box(b"ipco", *properties), box(b"ipma", bytes(4), items))
    meta = box(b"meta", bytes(4), box(b"pitm", bytes(4), b"\0\1"), iprp)
    return box(b"ftyp", brand, bytes(4), b"mif1") + meta + after


def test_the_primary_items_size_counts_and_not_its_tiles():
    items = struct.pack(">IHBBHBB", 2, 7, 1, 1, 1, 1, 0x82)
    data = still(ispe(64, 64), ispe(3, 5), items=items)
    assert check(data) == Header("heic", 3, 5, 3, 8, 1)
    assert check(still(ispe(3, 5), brand=b"avif")).kind == "avif"


def test_properties_tell_channels_bits_and_alpha():
    pixi = box(b"pixi", bytes(4), b"\1\x0a")
    alpha = box(b"auxC", bytes(4), b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    assert check(still(ispe(3, 5), pixi, alpha)) == Header("heic", 3, 5, 2, 10, 1)


@pytest.mark.parametrize(
    ("turns", "mirror", "orientation"),
    [
        (0, None, 1), (1, None, 8), (2, None, 3), (3, None, 6),
        (0, 0, 4), (1, 0, 5), (2, 0, 2), (3, 0, 7),
        (0, 1, 2), (1, 1, 7), (2, 1, 4), (3, 1, 5),
    ],
)  # fmt: skip
def test_turn_and_mirror_make_one_orientation(turns, mirror, orientation):
    properties = [ispe(3, 5), box(b"irot", bytes([turns]))]
    if mirror is not None:
        properties.append(box(b"imir", bytes([mirror])))
    header = check(still(*properties))
    assert header.orientation == orientation

    turned = np.rot90(np.arange(15).reshape(3, 5), turns)
    if mirror is not None:
        turned = np.flip(turned, mirror)
    assert header.upright == turned.shape
    np.testing.assert_array_equal(turned, by_exif(np.arange(15).reshape(3, 5), orientation))


def by_exif(image: np.ndarray, orientation: int) -> np.ndarray:
    turned = image.T if orientation >= 5 else image
    flips = {2: 1, 3: (0, 1), 4: 0, 6: 1, 7: (0, 1), 8: 0}
    return np.flip(turned, flips[orientation]) if orientation in flips else turned


def test_what_is_cut_away_counts_among_the_pixels():
    clap = box(b"clap", struct.pack(">8I", 5, 1, 3, 1, 0, 1, 0, 1))
    assert check(still(ispe(64, 64), clap)).upright == (3, 5)
    with pytest.raises(PictureError, match="900,000,000 pixels"):
        check(still(ispe(30_000, 30_000), clap))


def test_a_track_larger_than_its_still_counts_among_the_pixels():
    tkhd = box(b"tkhd", bytes(76), struct.pack(">II", 30_000 << 16, 30_000 << 16))
    moov = box(b"moov", box(b"mvhd"), box(b"trak", tkhd))
    with pytest.raises(PictureError, match="900,000,000 pixels"):
        check(still(ispe(3, 5), brand=b"avis", after=moov + box(b"mdat")))


BAD_BOXES = {
    "no pixels": (still(ispe(3, 5), after=b""), "without its end mark"),
    "pixels cut short": (still(ispe(3, 5), after=box(b"mdat", bytes(9))[:-1]), "promises"),
    "pixels without end": (still(ispe(3, 5), after=b"\0\0\0\1mdat" + b"\xff" * 8), "promises"),
    "cut in its meta box": (still(ispe(3, 5))[:60], "cut short"),
    "no size": (still(box(b"irot", b"\0")), "states no size"),
    "a size cut short": (still(box(b"ispe", b"\0")), "cut short"),
    "items without end": (still(ispe(3, 5), items=b"\xff\xff\xff\xff"), "cut short"),
    "properties without end": (still(ispe(3, 5), items=b"\0\0\0\1\0\1\xff"), "cut short"),
    "nothing of items": (still(ispe(3, 5), items=b""), "cut short"),
    "no item": (
        box(b"ftyp", b"avif", bytes(4)) + box(b"meta", bytes(4)),
        "no primary item",
    ),
    "a film": (box(b"ftyp", b"isom", bytes(4), b"mp41"), "not a picture"),
}


@pytest.mark.parametrize("case", BAD_BOXES)
def test_boxes_are_held_against_the_end_of_their_file(case):
    data, reason = BAD_BOXES[case]
    with pytest.raises(PictureError, match=reason):
        check(data)


def test_boxes_may_be_long_or_go_on_to_the_end():
    check(still(ispe(3, 5), after=struct.pack(">I4sQ", 1, b"mdat", 20) + bytes(4)))
    check(still(ispe(3, 5), after=b"\0\0\0\0mdat and so on"))
    check(still(ispe(3, 5), after=box(b"mdat") + b"junk" * 9))


# Whatever the bytes

MAGIC = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"II*\0", b"MM\0*", b"MM\0+"]
MAGIC += [b"RIFF\0\0\0\1WEBPVP8X", b"RIFF\0\0\0\1WEBPVP8L", b"\0\0\0\x10ftypavif\0\0\0\0avif"]


@settings(max_examples=300)
@given(magic=st.sampled_from(MAGIC), rest=st.binary(max_size=300))
def test_any_bytes_give_a_header_or_a_picture_error(magic, rest):
    with contextlib.suppress(PictureError):
        check(magic + rest)


LONG = {
    "fill bytes": b"\xff\xd8" + b"\xff" * 3_000_000,
    "stuffed bytes": b"\xff\xd8\xff" + b"\xff\x00" * 1_500_000,
    "segments": b"\xff\xd8" + b"\xff\xe0\x00\x02" * 300_000,
    "chunks": pil(RGB, "PNG")[:-12] + chunk(b"IDAT", b"") * 100_000,
    "blocks": pil(GREY, "GIF")[:-1] + b"\x21\xfe\1a\0" * 300_000,
    "tags": exif(*[(9, 4, 9, bytes(4))] * 65_535),
    "exif": in_jpeg(*[app1(E + exif(*[(9, 4, 9, bytes(4))] * 5_000))] * 20),
    "boxes": box(b"ftyp", b"avif", bytes(4)) + box(b"free") * 200_000,
    "items": still(ispe(3, 5), items=struct.pack(">I", 2**32 - 1) + b"\0\2\0" * 300_000),
}


@pytest.mark.parametrize("case", LONG)
def test_long_files_of_nothing_take_time_in_proportion(case):
    before = time.process_time()
    with contextlib.suppress(PictureError):
        check(LONG[case])
    assert time.process_time() - before < 3, "some thousand times what a linear scan takes"
