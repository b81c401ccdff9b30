"""Filter 32019 through plain h5py: round trips, damage, interrupts, threads, forks."""

from __future__ import annotations

import _thread
import ctypes
import functools
import io
import json
import logging
import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from celeiro.errors import FormatError, OptionError
from celeiro.format import filters
from celeiro.format.filters import JPEG, MONO, RGB, check_chunk_shape, jpeg_options, register

register()

HEIGHT, WIDTH = 24, 32
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and forks of POSIX")


def picture(height=HEIGHT, width=WIDTH, channels=3, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return smooth.reshape(height, width, channels)


def as_jpeg(image, quality=90, **options):
    """A JPEG by Pillow: by another hand than the filter's."""
    stream = io.BytesIO()
    image = image[..., 0] if image.shape[2] == 1 else image
    Image.fromarray(image).save(stream, "JPEG", quality=quality, **options)
    return stream.getvalue()


def opencv(data):
    """What `cv2.imdecode` makes of it, channels in the order of the data set."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return image[..., None] if image.ndim == 2 else image[..., ::-1]


def create(file, images, *, quality=90, key="imagens", **options):
    _, height, width, channels = images.shape
    color = RGB if channels == 3 else MONO
    return file.create_dataset(
        key,
        data=images,
        chunks=(1, height, width, channels),
        compression=JPEG,
        compression_opts=jpeg_options(quality, width, height, color),
        **options,
    )


def in_memory():
    """A file without a cache of chunks: what is written is encoded, what is read is decoded."""
    return h5py.File("memory", "w", driver="core", backing_store=False, rdcc_nbytes=0)


def stored(dataset, row=0):
    return dataset.id.read_direct_chunk((row, 0, 0, 0))[1]


@pytest.fixture(params=[1, 3], ids=["grey", "RGB"])
def channels(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    """A file of ten pictures, each a different one."""
    path = tmp_path / "pictures.h5"
    with h5py.File(path, "w") as file:
        create(file, np.stack([picture(seed=row) for row in range(10)]))
    return path


@pytest.fixture
def damaged(tmp_path):
    """A function: the data set whose one chunk is these bytes."""
    file = h5py.File(tmp_path / "damaged.h5", "w")

    def make(data, channels=3):
        dataset = create(file, picture(channels=channels)[None], key=f"{len(file)}")
        file.flush()
        dataset.id.write_direct_chunk((0, 0, 0, 0), data)
        return dataset

    yield make
    file.close()


# Round trips


def test_slices_are_the_pixels_of_opencv(tmp_path, channels):
    images = np.stack([picture(channels=channels, seed=row) for row in range(10)])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        create(file, images)
    with h5py.File(tmp_path / "a.h5") as db:
        expected = np.stack([opencv(stored(db["imagens"], row)) for row in range(10)])
        np.testing.assert_array_equal(db["imagens"][0], expected[0])
        np.testing.assert_array_equal(db["imagens"][3:9], expected[3:9])
        np.testing.assert_array_equal(db["imagens"][7, 2:5, :, 0], expected[7, 2:5, :, 0])
        assert np.abs(expected.astype(int) - images).mean() < 6


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 64), st.integers(1, 64), st.sampled_from([1, 3]), st.integers(1, 100),
    st.integers(0, 99),
)  # fmt: skip
def test_any_shape_and_quality_is_what_libjpeg_makes_of_it(height, width, channels, quality, seed):
    image = picture(height, width, channels, seed)
    with in_memory() as file:
        dataset = create(file, image[None], quality=quality)
        data, read = stored(dataset), dataset[0]
    by_libjpeg = as_jpeg(image, quality, subsampling=2)
    np.testing.assert_array_equal(read, opencv(data))
    np.testing.assert_array_equal(read, opencv(by_libjpeg))
    assert len(data) == len(by_libjpeg)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_any_jpeg_of_the_right_size_and_kind_is_read(damaged, subsampling, progressive):
    data = as_jpeg(picture(), subsampling=subsampling, progressive=progressive)
    np.testing.assert_array_equal(damaged(data)[0], opencv(data))


def test_bytes_after_the_end_marker_are_ignored(damaged):
    data = as_jpeg(picture())
    np.testing.assert_array_equal(damaged(data + b"behind the end")[0], opencv(data))


def test_one_row_can_be_written_again(path):
    image = picture(seed=99)
    with h5py.File(path, "r+") as file:
        file["imagens"][4] = image
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["imagens"][4], opencv(as_jpeg(image, subsampling=2)))


def test_checksums_of_hdf5_may_stand_behind_it(tmp_path):
    image = picture()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        create(file, image[None], fletcher32=True)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["imagens"][0], opencv(as_jpeg(image, subsampling=2)))


def test_a_file_that_nobody_closed_is_whole(tmp_path):
    path = tmp_path / "open.h5"
    run(
        f"""
        file = h5py.File({str(path)!r}, "w")
        data = file.create_dataset("x", (2, 64, 64, 1), "u1", chunks=(1, 64, 64, 1),
                                   compression=32019, compression_opts=(90, 64, 64, 0))
        data[:] = 77
        h5py.kept = file, data  # until the very end of Python
        """
    )
    with h5py.File(path) as file:
        assert (file["x"][:] == 77).all()


# Options and creation


def test_options_are_those_of_the_plugin():
    assert jpeg_options(90, 256, 192, RGB) == (90, 256, 192, 1)
    assert jpeg_options(1, 1, 65_500, MONO) == (1, 1, 65_500, 0)


@pytest.mark.parametrize(
    "options",
    [(0, 8, 8, 1), (101, 8, 8, 1), (90, 0, 8, 1), (90, 8, 65_501, 1), (90, 8, 8, 2),
     (90, 65_000, 65_000, 0), (90, -8, -8, 1)],
)  # fmt: skip
def test_options_out_of_range_are_refused(options):
    with pytest.raises(OptionError):
        jpeg_options(*options)


@pytest.mark.parametrize(
    ("options", "chunk", "dtype", "fits"),
    [
        ((90, 32, 24, 1), (1, 24, 32, 3), np.uint8, True),
        ((90, 32, 24, 0), (1, 24, 32, 1), "u1", True),
        ((90, 32, 24, 0), (24, 32), np.uint8, True),
        ((90, 32, 48, 1), (2, 24, 32, 3), np.uint8, True),  # two rows, one tall JPEG
        ((90, 32, 24, 1, 7), (1, 24, 32, 3), np.uint8, True),
        ((90, 32, 24, 1), (1, 24, 32, 1), np.uint8, False),
        ((90, 32, 24, 0), (1, 24, 32, 3), np.uint8, False),
        ((90, 32, 24, 1), (2, 24, 32, 3), np.uint8, False),
        ((90, 32, 24, 1), (1, 240, 320, 3), np.uint8, False),
        ((90, 32, 24, 0), (12, 32), np.uint16, False),
        ((90, 32, 24, 1), (1, 24, 32, 3), np.int8, False),
        ((90, 32, 24, 1), (1, 24, 32, 3), np.bool_, False),
        ((90, 32, 24, 3), (1, 24, 32, 3), np.uint8, False),
        ((90, 32, 24), (1, 24, 32, 3), np.uint8, False),
        ((), (1, 24, 32, 3), np.uint8, False),
        ((90, 0, 24, 1), (1, 0, 24, 3), np.uint8, False),
        ((90, 65_500, 65_500, 1), (1, 65_500, 65_500, 3), np.uint8, False),
    ],
)
def test_chunks_must_be_the_picture_of_the_options(options, chunk, dtype, fits):
    if fits:
        check_chunk_shape(options, chunk, dtype)
    else:
        with pytest.raises(FormatError):
            check_chunk_shape(options, chunk, dtype)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"dtype": "i1"}, "unsigned 8-bit"),
        ({"dtype": "u2"}, "unsigned 8-bit"),
        ({"dtype": "f4"}, "unsigned 8-bit"),
        ({"dtype": bool}, "unsigned 8-bit"),
        ({"chunks": (2, 24, 32, 3)}, "4608 bytes"),
        ({"compression_opts": (90, 32, 24, 0)}, "768 bytes"),
        ({"compression_opts": (90, 32, 24, 2)}, "color mode 2"),
        ({"compression_opts": (90, 32)}, "quality, width, height, color"),
        ({"compression_opts": None}, "quality, width, height, color"),
    ],
)
def test_a_data_set_that_lies_cannot_be_created(tmp_path, wrong, reason):
    right = {
        "shape": (4, HEIGHT, WIDTH, 3), "dtype": "u1", "chunks": (1, HEIGHT, WIDTH, 3),
        "compression": JPEG, "compression_opts": (90, WIDTH, HEIGHT, 1),
    }  # fmt: skip
    with h5py.File(tmp_path / "a.h5", "w") as file:
        with pytest.raises(ValueError, match=reason):
            file.create_dataset("x", **{**right, **wrong})
        assert list(file) == []
        file.create_dataset("x", **right)


def test_h5py_makes_the_filter_optional_and_we_make_it_mandatory(path):
    with h5py.File(path) as file:
        number, flags, options, _ = file["imagens"].id.get_create_plist().get_filter(0)
    assert (number, flags, options) == (JPEG, h5py.h5z.FLAG_MANDATORY, (90, WIDTH, HEIGHT, 1))


def test_a_failed_encode_is_an_error_and_leaves_no_raw_pixels(monkeypatch):
    def fail(*_):
        raise MemoryError("none left")

    with in_memory() as file:
        dataset = create(file, picture()[None])
        before = stored(dataset)
        monkeypatch.setattr(filters, "_encode", fail)
        with pytest.raises(OSError, match="filter"):
            dataset[0] = picture(seed=1)
        assert stored(dataset) == before


# Damage


def cmyk():
    stream = io.BytesIO()
    Image.fromarray(picture()).convert("CMYK").save(stream, "JPEG")
    return stream.getvalue()


WHOLE = as_jpeg(picture())
DAMAGE = {
    "of another width": as_jpeg(picture(width=WIDTH + 1)),
    "of another height": as_jpeg(picture(height=HEIGHT - 1)),
    "turned": as_jpeg(picture(height=WIDTH, width=HEIGHT)),
    "much larger": as_jpeg(picture(height=2000, width=2000)),
    "of one pixel": as_jpeg(picture(1, 1)),
    "grey": as_jpeg(picture(channels=1)),
    "CMYK": cmyk(),
    "without its second half": WHOLE[: len(WHOLE) // 2],
    "without its last byte": WHOLE[:-1],
    "a header alone": WHOLE[: WHOLE.index(b"\xff\xda")],
    "one byte": b"\xff",
    "a start and an end": b"\xff\xd8\xff\xd9",
    "PNG": cv2.imencode(".png", picture())[1].tobytes(),
    "zeros": bytes(1000),
    "noise": np.random.default_rng(0).bytes(1000),
    "HTML": b"<!doctype html><title>404</title>",
    "raw pixels": picture().tobytes(),
    "quantised by nothing": WHOLE.replace(b"\xff\xdb", b"\xff\xfe"),
    "of 12 bits": WHOLE.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
    "of no width": WHOLE.replace(
        b"\xff\xc0\x00\x11\x08\x00\x18\x00\x20", b"\xff\xc0\x00\x11\x08\x00\x18\x00\x00"
    ),
}


@pytest.mark.parametrize("data", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_chunk_that_is_not_the_picture_is_an_error_with_its_reason(damaged, caplog, data):
    dataset = damaged(data)
    for _ in range(2):  # and stays one: nothing may remain in HDF5's cache
        with pytest.raises(OSError, match="filter returned failure|JPEG filter"):
            dataset[0]
    assert caplog.records[0].name == "celeiro.format.filters"
    assert len(caplog.records[0].getMessage()) > len("a chunk under the JPEG filter: ")


def test_a_colour_jpeg_in_a_grey_data_set_is_an_error(damaged):
    with pytest.raises(OSError, match="filter"):
        damaged(as_jpeg(picture()), channels=1)[0]


def test_the_log_says_what_was_found_and_what_was_wanted(damaged, caplog):
    with pytest.raises(OSError, match="filter"):
        damaged(as_jpeg(picture(10, 12)))[0]
    assert "a YCbCr JPEG of 10 x 12, not 24 x 32 x 3" in caplog.text


def test_one_bad_chunk_does_not_spoil_its_neighbours(path):
    with h5py.File(path, "r+") as file:
        file["imagens"].id.write_direct_chunk((4, 0, 0, 0), WHOLE[:300])
        with pytest.raises(OSError, match="filter"):
            file["imagens"][:]
        for row in (3, 5):
            expected = opencv(stored(file["imagens"], row))
            np.testing.assert_array_equal(file["imagens"][row], expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_changed_byte_gives_the_pixels_of_opencv_or_an_error(place, change):
    data = bytearray(WHOLE)
    data[place] ^= change
    with in_memory() as file:
        dataset = create(file, picture()[None])
        dataset.id.write_direct_chunk((0, 0, 0, 0), bytes(data))
        try:
            read = dataset[0]
        except OSError:
            return
        np.testing.assert_array_equal(read, opencv(data))


@pytest.mark.parametrize(
    "options",
    [(), (90,), (90, WIDTH, HEIGHT), (90, 0, HEIGHT, 1), (90, WIDTH, HEIGHT, 2),
     (90, 2**32 - 1, 2**32 - 1, 1), (90, 60_000, 60_000, 1), (90, HEIGHT, WIDTH, 1)],
)  # fmt: skip
def test_a_foreign_data_set_with_senseless_options_is_an_error(tmp_path, options):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        h5py.h5z.unregister_filter(JPEG)  # or it could not be made
        try:
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((1, HEIGHT, WIDTH, 3))
            plist.set_filter(JPEG, h5py.h5z.FLAG_OPTIONAL, options)
            space = h5py.h5s.create_simple((1, HEIGHT, WIDTH, 3))
            dataset = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, space, plist)
        finally:
            register()
        dataset.write_direct_chunk((0, 0, 0, 0), WHOLE)
        with pytest.raises(OSError, match="filter"):
            file["x"][0]


# Registration


def test_registering_again_is_harmless(path):
    for _ in range(3):
        register()
    with h5py.File(path) as file:
        register()
        np.testing.assert_array_equal(file["imagens"][1], opencv(stored(file["imagens"], 1)))
        register()
        np.testing.assert_array_equal(file["imagens"][2], opencv(stored(file["imagens"], 2)))


def test_ours_takes_the_place_of_a_filter_that_was_there(path):
    other = filters._FILTER(lambda *_: 0)
    foreign = filters._FilterClass(h5py.h5z.CLASS_T_VERS, JPEG, 1, 1, b"another", filter=other)
    h5py.h5z.register_filter(ctypes.addressof(foreign))
    try:
        with h5py.File(path) as file, pytest.raises(OSError, match="filter"):
            file["imagens"][0]
    finally:
        register()
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["imagens"][0], opencv(stored(file["imagens"])))


def test_registering_takes_less_than_two_milliseconds():
    def once():
        begun = time.perf_counter()
        register()
        return time.perf_counter() - begun

    assert min(once() for _ in range(5)) < 0.002


def test_without_the_library_of_h5py_registering_warns_and_goes_on(monkeypatch, caplog):
    def missing():
        raise OSError("hdf5.dll")

    monkeypatch.setattr(filters, "_library", missing)
    with caplog.at_level(logging.WARNING):
        register()
    assert "plain h5py cannot read JPEG data sets here" in caplog.text


# Interrupts


def interrupting(function, error, times):
    """A function that raises `error` so many times before it does its work."""
    left = [error] * times

    @functools.wraps(function)
    def interrupted(*arguments):
        if left:
            raise left.pop()
        return function(*arguments)

    return interrupted


def until_interrupted(function, *arguments):
    """Call it, and wait for the interrupt that it may leave behind."""
    function(*arguments)
    threading.Event().wait(10)


def fail_to_read(file, rows):
    with pytest.raises(OSError, match="filter"):
        file["imagens"][rows]


@posix
def test_ctrl_c_while_decoding_is_raised_when_hdf5_is_done(path, monkeypatch):
    monkeypatch.setattr(
        filters,
        "decode_picture",
        interrupting(filters.decode_picture, KeyboardInterrupt(), times=1),
    )
    with h5py.File(path) as file:
        read = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        with pytest.raises(KeyboardInterrupt):
            until_interrupted(file["imagens"].read_direct, read, np.s_[0])
        expected = opencv(stored(file["imagens"]))
        np.testing.assert_array_equal(read, expected)
        np.testing.assert_array_equal(file["imagens"][0], expected)


@posix
def test_ctrl_c_is_not_lost_where_h5py_drops_the_data_set(path, monkeypatch):
    decode = filters.decode_picture
    with h5py.File(path) as file:
        for row in range(10):
            error = KeyboardInterrupt(row)
            monkeypatch.setattr(filters, "decode_picture", interrupting(decode, error, times=1))
            with pytest.raises(KeyboardInterrupt) as raised:
                until_interrupted(lambda row=row: file["imagens"][row])
            assert raised.value is error


@posix
def test_ctrl_c_while_encoding_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        filters, "_encode", interrupting(filters._encode, KeyboardInterrupt(), times=1)
    )
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = create(file, picture()[None])
        with pytest.raises(KeyboardInterrupt):
            until_interrupted(file.flush)
        written = opencv(stored(dataset))
    np.testing.assert_array_equal(written, opencv(as_jpeg(picture(), subsampling=2)))


@posix
def test_ctrl_c_again_and_again_ends_the_read(path, monkeypatch):
    monkeypatch.setattr(
        filters,
        "decode_picture",
        interrupting(filters.decode_picture, KeyboardInterrupt(), times=9),
    )
    with h5py.File(path) as file, pytest.raises(KeyboardInterrupt):
        until_interrupted(fail_to_read, file, 0)


@posix
def test_a_long_read_is_not_finished_after_ctrl_c(path, monkeypatch):
    decoded = []
    monkeypatch.setattr(filters, "_OVERDUE_AFTER", -1)
    decode = interrupting(filters.decode_picture, KeyboardInterrupt(), times=1)
    monkeypatch.setattr(filters, "decode_picture", lambda *a: decoded.append(decode(*a)))
    with h5py.File(path) as file, pytest.raises(KeyboardInterrupt):
        until_interrupted(fail_to_read, file, slice(None))
    assert decoded == []


@posix
def test_a_handler_set_by_somebody_else_meanwhile_stays(path, monkeypatch):
    forgotten = filters._Postponed(KeyboardInterrupt(), signal.default_int_handler)
    monkeypatch.setattr(filters, "_OVERDUE_AFTER", -1)
    monkeypatch.setattr(filters, "_postponed", forgotten)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["imagens"][0], opencv(stored(file["imagens"])))


@posix
def test_an_exit_asked_by_a_signal_keeps_its_code(path, monkeypatch):
    asked = SystemExit(3)
    monkeypatch.setattr(
        filters, "decode_picture", interrupting(filters.decode_picture, asked, times=1)
    )
    with h5py.File(path) as file, pytest.raises(SystemExit) as raised:
        until_interrupted(lambda: file["imagens"][0])
    assert raised.value is asked
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_raised_in_another_thread_fails_the_read(path, monkeypatch, caplog):
    decode = interrupting(filters.decode_picture, KeyboardInterrupt(), times=1)
    monkeypatch.setattr(filters, "decode_picture", decode)
    raised = []

    def read():
        try:
            with h5py.File(path) as file:
                file["imagens"][0]
        except OSError as error:
            raised.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(20)
    assert len(raised) == 1
    assert "interrupted by KeyboardInterrupt" in caplog.text


@posix
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_waited_for_python_does_not_pass_the_jpeg_off_as_pixels():
    library = filters._library()
    prototype = ctypes.PYFUNCTYPE(ctypes.c_size_t, *filters._ARGUMENTS)
    entry = prototype(ctypes.cast(filters._entry, ctypes.c_void_p).value)
    options = (ctypes.c_uint * 4)(90, WIDTH, HEIGHT, 1)
    room = library.allocate(len(WHOLE), False)
    ctypes.memmove(room, WHOLE, len(WHOLE))
    size, buffer = ctypes.c_size_t(len(WHOLE)), ctypes.c_void_p(room)
    pointers = ctypes.addressof(size), ctypes.addressof(buffer)
    call = functools.partial(
        entry, h5py.h5z.FLAG_REVERSE, 4, ctypes.addressof(options), len(WHOLE), *pointers
    )
    results = []

    def read():  # in C, so that the interrupt is raised at the first line of Python in the filter
        results.extend(map(operator.call, (_thread.interrupt_main, call)))

    with pytest.raises(KeyboardInterrupt):
        until_interrupted(read)
    assert size.value == HEIGHT * WIDTH * 3
    pixels = np.frombuffer(ctypes.string_at(buffer.value, size.value), np.uint8)
    np.testing.assert_array_equal(pixels.reshape(HEIGHT, WIDTH, 3), opencv(WHOLE))
    library.free(buffer.value)


@posix
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_call_that_never_runs_is_an_error(path, monkeypatch):
    """The innermost function dies, and the one that would begin anew as well."""

    def die(*_):
        raise KeyboardInterrupt

    first = filters._FILTER_WITHOUT_RESULT(die)
    first.errcheck = die
    sealed = filters._FILTER_WITHOUT_RESULT(first)
    sealed.restype = filters._sealed.restype
    entry = filters._FILTER(sealed)
    foreign = filters._FilterClass(h5py.h5z.CLASS_T_VERS, JPEG, 1, 1, b"dies", filter=entry)
    h5py.h5z.register_filter(ctypes.addressof(foreign))
    try:
        with h5py.File(path) as file:
            for row in range(10):
                with pytest.raises(OSError, match="filter"):
                    file["imagens"][row]
    finally:
        register()


@posix
def test_ctrl_c_at_any_moment_never_gives_other_pixels(path):
    script = f"""
        import json, os, signal, threading, time
        expected = h5py.File({str(path)!r})["imagens"][:]
        data = h5py.File({str(path)!r}, rdcc_nbytes=0)["imagens"]
        until = time.monotonic() + 1
        counts = dict(read=0, wrong=0, failed=0, interrupted=0)

        def interrupt():
            while time.monotonic() < until:
                time.sleep(0.003)
                os.kill(os.getpid(), signal.SIGINT)

        def read():
            row = 0
            while interrupter.is_alive():
                row = (row + 1) % 10
                try:
                    counts["wrong"] += int((data[row] != expected[row]).any())
                    counts["read"] += 1
                except OSError:
                    counts["failed"] += 1

        def persist():
            while interrupter.is_alive():
                try:
                    read()
                except KeyboardInterrupt:
                    counts["interrupted"] += 1

        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        while True:
            try:
                persist()
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the last one may still be on its way
                break
            except KeyboardInterrupt:
                counts["interrupted"] += 1
        print(json.dumps(counts))
    """
    counts = json.loads(run(script))
    assert counts["wrong"] == 0
    assert counts["read"] > 100
    assert counts["interrupted"] > 20
    assert counts["failed"] < counts["interrupted"]


# Threads and processes


def test_eight_threads_read_the_same_pixels(path):
    wrong = []

    def read(expected, shared, own):
        with h5py.File(path, rdcc_nbytes=0) as file:
            dataset = file["imagens"] if own else shared
            rows = np.random.default_rng().integers(0, 10, 60)
            wrong.extend(row for row in rows if (dataset[row] != expected[row]).any())

    with h5py.File(path, rdcc_nbytes=0) as file:
        expected = file["imagens"][:]
        threads = [
            threading.Thread(target=read, args=(expected, file["imagens"], own))
            for own in (True, False) * 4
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert wrong == []


def check_in_child(path, expected):
    with h5py.File(path) as file:
        os._exit(0 if (file["imagens"][:] == expected).all() else 1)


@posix
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forks_beside_reading_threads_read_the_same_pixels(path):
    done = threading.Event()

    def read(dataset):
        while not done.is_set():
            dataset[:]

    with h5py.File(path, rdcc_nbytes=0) as file:
        expected = file["imagens"][:]
        threads = [threading.Thread(target=read, args=(file["imagens"],)) for _ in range(3)]
        for thread in threads:
            thread.start()
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=check_in_child, args=(path, expected)) for _ in range(4)]
        for child in children:
            child.start()
        for child in children:
            child.join(30)
        done.set()
        for thread in threads:
            thread.join(30)
    assert [child.exitcode for child in children] == [0] * 4


def run(script):
    """Run a script in a Python of its own, where our filter is registered."""
    preamble = "import h5py\nfrom celeiro.format.filters import register\nregister()\n"
    finished = subprocess.run(
        [sys.executable, "-c", preamble + textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
