"""Every row of docs/pictures.md, on pictures made here, held against OpenCV's own answer."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import zlib
from functools import cache

import cv2
import imagecodecs
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from celeiro.errors import PictureError
from celeiro.format import pictures
from celeiro.format.pictures import check, decode, decode_mask

FLAGS = {
    "RGB": cv2.IMREAD_COLOR_RGB,
    "BGR": cv2.IMREAD_COLOR,
    "GRAY": cv2.IMREAD_GRAYSCALE,
}


def photo(height: int = 41, width: int = 57) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    waves = np.stack([np.sin(columns / 7), np.cos(rows / 5), np.sin((rows + columns) / 9)], -1)
    return (waves * 100 + 128 + noise).clip(0, 255).astype(np.uint8)


def pil(image: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    picture = Image.fromarray(image)
    if mode is not None:
        picture = picture.convert(mode)
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def by_opencv(extension: str, image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(extension, image, options)[1].tobytes()


def reference(data: bytes, color: str = "RGB") -> np.ndarray | None:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), FLAGS[color])
    return pixels[:, :, None] if pixels is not None and pixels.ndim == 2 else pixels


def chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png_header(height: int, width: int, bits: int = 8, colour: int = 2) -> bytes:
    ihdr = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr)


def insert(data: bytes, at: int, more: bytes) -> bytes:
    return data[:at] + more + data[at:]


def before_idat(png: bytes, more: bytes) -> bytes:
    return insert(png, png.index(b"IDAT") - 4, more)


def before_scan(jpeg: bytes, more: bytes) -> bytes:
    return insert(jpeg, jpeg.index(b"\xff\xda"), more)


def frames(kind: str, **options: object) -> bytes:
    second = Image.fromarray(photo()[::-1].copy())
    return pil(photo(), kind, save_all=True, append_images=[second], **options)


def palette(colours: int, *, bits: int = 8, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(photo()).quantize(colours).save(out, "PNG", bits=bits, **options)
    return out.getvalue()


def deep(channels: int) -> np.ndarray:
    image = photo().astype(np.uint16) * 251 + 3
    return {1: image[:, :, 0], 3: image, 4: np.dstack([image, image[:, :, 0]])}[channels]


@cache
def sound() -> dict[str, bytes]:
    image = photo()
    alpha = np.dstack([image, image[:, :, 0]])
    cmyk = np.random.default_rng(1).integers(0, 256, (64, 64, 4), np.uint8)
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
    return {
        "jpeg 4:2:0": by_opencv(".jpg", image, sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420),
        "jpeg 4:2:2": by_opencv(".jpg", image, sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422),
        "jpeg 4:4:0": by_opencv(".jpg", image, sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
        "jpeg 4:1:1": by_opencv(".jpg", image, sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411),
        "jpeg 4:4:4": by_opencv(".jpg", image, sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        "jpeg progressive": pil(image, "JPEG", progressive=True),
        "jpeg grey": pil(image[:, :, 0], "JPEG"),
        "jpeg rgb": pil(image, "JPEG", keep_rgb=True),
        "jpeg cmyk": imagecodecs.jpeg8_encode(cmyk, colorspace="CMYK", outcolorspace="CMYK"),
        "jpeg ycck": imagecodecs.jpeg8_encode(cmyk, colorspace="CMYK", outcolorspace="YCCK"),
        "png": pil(image, "PNG"),
        "png grey": pil(image[:, :, 0], "PNG"),
        "png 1 bit": pil(image, "PNG", "1"),
        "png palette": palette(256),
        "png 4-bit palette": palette(16, bits=4),
        "png palette, transparent": palette(16, bits=4, transparency=3),
        "png alpha": pil(alpha, "PNG"),
        "png grey, alpha": pil(image, "PNG", "LA"),
        "png 16 bits": by_opencv(".png", deep(3)),
        "png 16 bits, grey": by_opencv(".png", deep(1)),
        "png 16 bits, alpha": by_opencv(".png", deep(4)),
        "png animated": frames("PNG"),
        "webp": pil(image, "WEBP"),
        "webp lossless": pil(image, "WEBP", lossless=True),
        "webp alpha": pil(alpha, "WEBP"),
        "webp animated": frames("WEBP"),
        "bmp": pil(image, "BMP"),
        "bmp palette": pil(image, "BMP", "P"),
        "bmp 1 bit": pil(image, "BMP", "1"),
        "bmp alpha": pil(alpha, "BMP"),
        "gif": pil(image, "GIF"),
        "gif transparent": pil(image, "GIF", "P", transparency=5),
        "gif animated": frames("GIF"),
        "tiff": pil(image, "TIFF"),
        "tiff lzw": pil(image, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": pil(image, "TIFF", compression="jpeg"),
        "tiff tiles": pil(image, "TIFF", tile=(16, 16)),
        "tiff strips": by_opencv(".tiff", image, cv2.IMWRITE_TIFF_ROWSPERSTRIP, 5),
        "tiff big": pil(image, "TIFF", big_tiff=True),
        "tiff palette": pil(image, "TIFF", "P"),
        "tiff 1 bit": pil(image, "TIFF", "1"),
        "tiff fax": pil(image, "TIFF", "1", compression="group4"),
        "tiff alpha": pil(alpha, "TIFF"),
        "tiff cmyk": pil(image, "TIFF", "CMYK"),
        "tiff 16 bits": by_opencv(".tiff", deep(3)),
        "tiff 16 bits, grey": by_opencv(".tiff", deep(1)),
        "avif": pil(image, "AVIF"),
        "avif grey": pil(image[:, :, 0], "AVIF"),
        "avif alpha": pil(alpha, "AVIF"),
        "avif animated": frames("AVIF"),
    }


SOUND = sorted(sound())
ONE_OF_EACH = ["jpeg 4:2:0", "png", "webp", "bmp", "gif", "tiff", "avif"]


@pytest.mark.parametrize("name", SOUND)
def test_pixels_equal_those_of_opencv(name):
    data = sound()[name]
    for color in FLAGS:
        pixels = decode(data, color=color)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, reference(data, color))


@pytest.mark.parametrize("name", SOUND)
def test_what_is_checked_is_what_is_decoded(name):
    header = check(sound()[name])
    assert decode(sound()[name]).shape == (*header.upright, 3)
    assert header.kind == name.split()[0]


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (900, 3)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF"])
def test_the_smallest_and_the_thinnest_are_pictures(kind, size):
    data = pil(np.resize(photo(), (*size, 3)), kind)
    pixels = decode(data)
    assert pixels.shape == (*size, 3)
    np.testing.assert_array_equal(pixels, reference(data))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_an_animation_gives_its_first_frame(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    still = decode(pil(photo(), kind, **options))
    np.testing.assert_array_equal(decode(frames(kind, **options)), still)


# What is no picture, or not all of one


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><title>404</title>", "not a picture: begins with b'<!DOCTYPE html><'"),
        (b"\x05}b\x05\xc02 random", "not a picture: begins with"),
        (b"BM is what this text begins with, and it goes on for a while", "a BMP's mark but no"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "not a picture"),
        (b"\xff\xd8\xff", "cut short"),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
        (b"GIF89a", "cut short"),
        (b"RIFF\4\0\0\0WEBP", "damaged webp"),
        (b"II*\0", "cut short"),
        (b"\0\0\0\x10ftypavif\0\0\0\0", "cut short"),
    ],
)
def test_what_is_no_picture_is_refused_by_what_it_begins_with(data, reason):
    for look in (check, decode, decode_mask):
        with pytest.raises(PictureError, match=reason):
            look(data)


@pytest.mark.parametrize("name", SOUND)
def test_a_file_cut_short_is_caught_without_decoding(name):
    data = sound()[name]
    cuts = [len(data) // 2, len(data) * 9 // 10]
    if not name.startswith("tiff"):  # whose pixels need not be what comes last
        cuts += [len(data) - 1]
    for cut in cuts:
        with pytest.raises(PictureError):
            check(data[:cut])


def test_the_end_of_a_thumbnail_is_not_the_end_of_its_picture():
    thumbnail = b"Exif\0\0" + pil(photo(8, 8), "JPEG")
    data = pil(photo(), "JPEG", exif=thumbnail)
    assert data.count(b"\xff\xd9") == 2
    check(data)
    with pytest.raises(PictureError, match="without its end mark"):
        check(data[:-200])


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_junk_after_the_end_is_passed_over(name):
    data = sound()[name]
    for junk in (b"\0" * 100, b"junk" * 30, b"\xff" * 50):
        np.testing.assert_array_equal(decode(data + junk), reference(data))


@pytest.mark.parametrize("name", ["jpeg 4:2:0", "jpeg progressive"])
def test_a_jpeg_with_a_damaged_scan_is_refused(name):
    data = sound()[name]
    cut = data[: len(data) * 3 // 4] + b"\xff\xd9"  # as a download tool would mend it
    check(cut)
    assert reference(cut) is not None, "OpenCV guesses the rest"
    with pytest.raises(PictureError, match="damaged jpeg"):
        decode(cut)


def test_a_png_with_a_damaged_chunk_is_refused_in_silence(capfd):
    data = bytearray(sound()["png"])
    data[data.index(b"IDAT") + 100] ^= 1
    with pytest.raises(PictureError, match="checksum of its IDAT"):
        decode(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_a_damaged_tiff_is_refused_in_silence(capfd):
    data = sound()["tiff lzw"]
    with pytest.raises(PictureError, match="damaged tiff"):
        decode(data[:60] + bytes(range(256)) * ((len(data) - 200) // 256) + data[-140:])
    assert capfd.readouterr() == ("", "")


# Odd, and sound


def jfif(version: int) -> bytes:
    data = pil(photo(), "JPEG")
    at = data.index(b"JFIF\0") + 5
    return data[:at] + bytes([version]) + data[at + 1 :]


ODD_JPEGS = {
    "bytes before the end": insert(pil(photo(), "JPEG"), -2, b"\x12\x34" * 20),
    "bytes before the scan": before_scan(pil(photo(), "JPEG"), b"\x12\x34" * 20),
    "JFIF 0.1": jfif(0),
    "JFIF 7.1": jfif(7),
    "a profile that is none": before_scan(
        pil(photo(), "JPEG"), b"\xff\xe2\x00\x12ICC_PROFILE\0\x09\x02ab"
    ),
    "fill bytes": before_scan(pil(photo(), "JPEG"), b"\xff" * 9),
    "a second picture": pil(photo(), "JPEG") + pil(photo(8, 8), "JPEG"),
}


@pytest.mark.parametrize("oddity", ODD_JPEGS)
def test_an_odd_jpeg_is_decoded_as_opencv_does_in_silence(oddity, capfd):
    data = ODD_JPEGS[oddity]
    for color in FLAGS:
        expected = reference(data, color)
        capfd.readouterr()  # OpenCV's own warning
        np.testing.assert_array_equal(decode(data, color=color), expected)
        assert capfd.readouterr() == ("", "")


def test_an_odd_header_hides_no_damaged_scan():
    with pytest.raises(PictureError, match="premature end"):
        decode(jfif(0)[:-300] + b"\xff\xd9")


def test_a_sampling_without_a_name_is_left_to_opencv():
    data = bytearray(by_opencv(".jpg", photo(8, 8), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111))
    data[data.index(b"\xff\xc0") + 11] = 0x31  # the luma: three blocks of it are in the scan
    np.testing.assert_array_equal(decode(bytes(data)), reference(bytes(data)))


ODD_PNGS = {
    "a profile that is none": chunk(b"iCCP", b"x\0\0" + zlib.compress(b"garbage")),
    "a text with a wrong sum": chunk(b"tEXt", b"a\0b")[:-1] + b"?",
    "a chunk of somebody's own": chunk(b"abCd", b"?"),
    "gamma": chunk(b"gAMA", struct.pack(">I", 100_000)),
    "significant bits": chunk(b"sBIT", bytes([5, 6, 5])),
    "one colour transparent": chunk(b"tRNS", bytes(6)),
}


@pytest.mark.parametrize("oddity", ODD_PNGS)
def test_an_odd_png_is_decoded_as_opencv_does_in_silence(oddity, capfd):
    data = before_idat(sound()["png"], ODD_PNGS[oddity])
    expected = reference(data)
    capfd.readouterr()  # OpenCV's own warning
    np.testing.assert_array_equal(decode(data), expected)
    assert capfd.readouterr() == ("", "")


def test_a_png_that_needs_an_unknown_chunk_is_refused():
    with pytest.raises(PictureError, match="ABCd"):
        decode(before_idat(sound()["png"], chunk(b"ABCd", b"?")))


def test_a_jpeg_of_12_bits_is_refused_as_by_opencv():
    data = imagecodecs.jpeg8_encode(photo().astype(np.uint16) << 4, bitspersample=12)
    assert reference(data) is None
    with pytest.raises(PictureError, match="precision 12"):
        decode(data)


# Orientation


def turned(kind: str, orientation: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return pil(photo(), kind, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_that_lies_is_turned_upright_as_by_opencv(kind, orientation):
    data = turned(kind, orientation)
    header = check(data)
    assert (header.height, header.width, header.orientation) == (41, 57, orientation)
    for color in FLAGS:
        pixels = decode(data, color=color)
        assert pixels.flags.c_contiguous
        assert pixels.shape[:2] == header.upright
        np.testing.assert_array_equal(pixels, reference(data, color))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_as_it_asks_which_opencv_does_not(orientation):
    data = turned("AVIF", orientation)
    assert check(data).orientation == orientation
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert decode(data).shape == np.asarray(upright).shape
    np.testing.assert_allclose(decode(data), np.asarray(upright), atol=2)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_mask_is_turned_like_its_picture(kind, orientation):
    np.testing.assert_array_equal(
        decode_mask(turned(kind, orientation)), decode(turned(kind, orientation))
    )


# Bounds


@pytest.mark.parametrize("side", [30_000, 2**31 - 1, 2**32 - 1])
def test_a_bomb_is_refused_before_it_is_decoded(side):
    data = png_header(side, side) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    for look in (check, decode, decode_mask):
        with pytest.raises(PictureError, match="more than the limit of 178,956,970.*--max-pixels"):
            look(data)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_limit_of_pixels_is_the_last_that_passes(name):
    decode(sound()[name], max_pixels=41 * 57)
    with pytest.raises(PictureError, match="2,337 pixels"):
        decode(sound()[name], max_pixels=41 * 57 - 1)


def test_a_side_longer_than_opencv_reads_is_refused():
    data = png_header(1, 1_100_000) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(PictureError, match="1,048,576 a side"):
        check(data)


def test_a_progressive_jpeg_of_endless_scans_is_refused():
    data = insert(pil(photo(), "JPEG", progressive=True), -2, b"\xff\xda\x00\x02" * 600)
    with pytest.raises(PictureError, match="more than 500 scans"):
        check(data)


def test_too_little_memory_is_about_the_picture(monkeypatch):
    def decode_jpeg(*_args: object, **_options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(simplejpeg, "decode_jpeg", decode_jpeg)
    monkeypatch.setattr(pictures.baseline, "decode", decode_jpeg)
    with pytest.raises(PictureError, match="not enough memory to decode jpeg of 41x57"):
        decode(sound()["jpeg 4:2:0"])


# Memory of the caller's


@pytest.mark.parametrize("spare", [0, 1000])
@pytest.mark.parametrize("color", FLAGS)
def test_a_jpeg_is_decoded_into_memory_where_it_fits(color, spare):
    data = sound()["jpeg 4:2:0"]
    buffer = bytearray(41 * 57 * (1 if color == "GRAY" else 3) + spare)
    pixels = decode(data, color=color, buffer=buffer)
    assert np.shares_memory(pixels, np.frombuffer(buffer, np.uint8))
    np.testing.assert_array_equal(pixels, reference(data, color))


def test_memory_that_is_too_small_is_not_used():
    buffer = bytearray(41 * 57 * 3 - 1)
    pixels = decode(sound()["jpeg 4:2:0"], buffer=buffer)
    assert not np.shares_memory(pixels, np.frombuffer(buffer, np.uint8))


# Masks


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_png_is_a_mask_of_indices(bits, interlaced):
    classes = np.random.default_rng(2).integers(0, 1 << bits, (21, 35), np.uint8)
    mask = Image.fromarray(classes, "L").convert("L")
    mask.putpalette(np.random.default_rng(3).integers(0, 256, 3 << bits, np.uint8).tobytes())
    out = io.BytesIO()
    mask.save(out, "PNG", bits=bits, transparency=0)
    data = interlace(out.getvalue(), classes, bits) if interlaced else out.getvalue()
    assert check(data).bits == bits
    np.testing.assert_array_equal(decode_mask(data), classes)
    np.testing.assert_array_equal(decode(data), reference(data))


def interlace(png: bytes, indices: np.ndarray, bits: int) -> bytes:
    """Write the rows again in Adam7's seven passes, which Pillow reads and does not write."""
    rows = b""
    for top, left, down, right in [
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4),
        (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
    ]:  # fmt: skip
        for row in indices[top::down, left::right]:
            each = np.unpackbits(row[:, None], axis=1)[:, 8 - bits :]
            rows += b"\0" + np.packbits(each).tobytes()
    head, tail = png.index(b"PLTE") - 4, png.index(b"IDAT") - 4
    ihdr = png[16:28] + b"\1"
    body = chunk(b"IHDR", ihdr) + png[head:tail] + chunk(b"IDAT", zlib.compress(rows))
    return png[:8] + body + chunk(b"IEND", b"")


@pytest.mark.parametrize(("bits", "step"), [(1, 255), (2, 85), (4, 17)])
def test_a_grey_png_of_few_bits_is_stretched_as_by_opencv(bits, step):
    values = np.arange(1 << bits, dtype=np.uint8)
    row = np.packbits(np.unpackbits(values[:, None], axis=1)[:, 8 - bits :]).tobytes()
    idat = chunk(b"IDAT", zlib.compress(b"\0" + row))
    data = png_header(1, 1 << bits, bits, 0) + idat + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode_mask(data), values[None] * step)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_mask_of_16_bits_keeps_them_in_the_files_order(extension, channels):
    values = deep(channels)
    order = [0, 1, 2, 3][:channels] if channels == 1 else [2, 1, 0, 3][:channels]
    data = by_opencv(extension, values if channels == 1 else values[:, :, order])
    mask = decode_mask(data)
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_a_tiff_of_floats_is_a_mask_and_no_photograph(dtype):
    values = (photo()[:, :, 0] * 0.7).astype(dtype)
    data = by_opencv(".tiff", values)
    np.testing.assert_array_equal(decode_mask(data), values)
    with pytest.raises(PictureError, match="bits a sample: a picture has 8 or 16"):
        decode(data)


@pytest.mark.parametrize("name", ["png grey", "bmp 1 bit", "jpeg grey", "avif grey"])
def test_a_grey_mask_has_no_axis_of_channels(name):
    np.testing.assert_array_equal(decode_mask(sound()[name]), decode(sound()[name])[:, :, 0])


@pytest.mark.parametrize("name", ["gif", "bmp palette", "tiff palette"])
def test_other_palettes_are_expanded_as_by_opencv(name):
    np.testing.assert_array_equal(decode_mask(sound()[name]), decode(sound()[name]))


# HEIC


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", len(body) + 8) + name + body


HEIC = box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(
    b"meta",
    bytes(4),
    box(b"pitm", bytes(4), b"\0\1"),
    box(
        b"iprp",
        box(b"ipco", box(b"ispe", bytes(4), struct.pack(">II", 57, 41)), box(b"irot", b"\3")),
        box(b"ipma", bytes(4), struct.pack(">IHBBB", 1, 1, 2, 1, 0x82)),
    ),
)


def test_a_heic_without_a_decoder_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = HEIC + box(b"mdat", b"")
    assert check(data).upright == (57, 41)
    with pytest.raises(PictureError, match=r"pip install 'celeiro\[heic\]'"):
        decode(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_heic_is_decoded_where_a_decoder_is_installed(mode):
    heif = pytest.importorskip("pillow_heif")
    picture = Image.fromarray(photo()).convert(mode)
    out = io.BytesIO()
    heif.from_pillow(picture).save(out, quality=-1)
    expected = np.asarray(picture.convert("RGB"), np.int16)
    data = out.getvalue()
    assert check(data).upright == (41, 57), "without the padding of the codec's blocks"
    assert np.abs(decode(data) - expected).mean() < 8
    np.testing.assert_array_equal(decode(data, color="BGR"), decode(data)[:, :, ::-1])
    assert decode(data, color="GRAY").shape == (41, 57, 1)
    for cut in (len(data) - 1, len(data) // 2, 100):
        with pytest.raises(PictureError):
            decode(data[:cut])


def test_a_heic_that_is_damaged_is_refused():
    pytest.importorskip("pillow_heif")
    with pytest.raises(PictureError, match="damaged heic"):
        decode(HEIC + box(b"mdat", b"nothing of use"))


# Whatever the bytes


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    names = ["jpeg 4:2:0", "jpeg progressive", "png", "png palette", "webp", "webp alpha", "bmp"]
    names += ["gif", "tiff", "tiff lzw", "tiff big", "avif"]
    data = bytearray(sound()[draw(st.sampled_from(names))])
    for _ in range(draw(st.integers(0, 4))):
        near = draw(st.sampled_from([64, 700, len(data)]))  # headers are where lengths are
        data[draw(st.integers(0, min(near, len(data)) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)) | st.just(len(data)))])


@settings(max_examples=300)
@given(data=damaged())
def test_damage_of_any_kind_gives_pixels_or_a_picture_error(data):
    for look in (check, decode, decode_mask):
        with contextlib.suppress(PictureError):
            look(data, max_pixels=1_000_000)


@settings(max_examples=100)
@given(data=damaged())
def test_where_we_give_pixels_they_are_those_of_opencv(data):
    try:
        pixels = decode(data, max_pixels=1_000_000)
    except PictureError:
        return
    np.testing.assert_array_equal(pixels, reference(data))


def test_the_terminal_is_left_to_a_caller_who_chose_a_level(monkeypatch):
    levels: list[int] = []
    monkeypatch.setattr(cv2.utils.logging, "setLogLevel", levels.append)
    monkeypatch.setenv("OPENCV_LOG_LEVEL", "WARNING")
    assert pictures._opencv.__wrapped__() is cv2
    assert levels == []
    monkeypatch.delenv("OPENCV_LOG_LEVEL")
    pictures._opencv.__wrapped__()
    assert levels == [cv2.utils.logging.LOG_LEVEL_SILENT]
