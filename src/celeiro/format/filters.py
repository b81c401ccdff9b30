"""HDF5 filter 32019, one JPEG a chunk, for plain h5py: `db["imagens"][0]` is the picture.

The invariant: a read gives the pixels of the JPEG or an `OSError`, never other bytes. `register`
puts Python where HDF5 wants a C function that cannot raise; what Ctrl-C can do to Python is dealt
with on the way (see "Interrupts" below):

    HDF5 ──> _entry ──> _sealed ──> _first ──> _filter ──> decode_picture, _encode
                        an error    a second   catches
                        at worst    try        what it can

Through plain `dataset[i]` it decodes 1,930 pictures of 256 x 256 a second on a core that decodes
2,280 without HDF5.

The options of a data set (its `cd_values`) and the meaning of a chunk are those of the HDF Group's
JPEG plugin, so that either side reads what the other wrote: `(quality, width, height, 0 grey |
1 RGB)`, rows interleaved, libjpeg's defaults when encoding (4:2:0, accurate DCT).

Three things differ from that plugin, all for safety. Creating a data set whose type or chunk is
not the picture of the options is an error. The filter of a new data set is made mandatory: h5py
passes "optional", with which HDF5 stores raw pixels silently when encoding fails. And a JPEG that
is not of the options' size and kind is an error instead of a crash, for HDF5 (2.0 at least) does
not look at the size that a filter gives back. It does not tell the filter the size of the chunk
either (on reading, both sizes that it passes are the compressed one), so whether the options fit
the chunk is for the reader to ask, with `check_chunk_shape`, before the first read.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import ctypes
import functools
import logging
import operator
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np
import simplejpeg

from celeiro.errors import FormatError, OptionError
from celeiro.format import baseline, jpeg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    import numpy.typing as npt

__all__ = [
    "JPEG",
    "MONO",
    "RGB",
    "check_chunk_shape",
    "decode_picture",
    "jpeg_options",
    "register",
]

JPEG: Final = 32019
MONO: Final = 0
RGB: Final = 1

MAX_SIDE: Final = 65_500  # libjpeg's own limit, a little below the 65,535 of the format
MAX_BYTES: Final = 2**31

_logger = logging.getLogger(__name__)


# What the options mean


def jpeg_options(quality: int, width: int, height: int, color: int) -> tuple[int, int, int, int]:
    """Return the `compression_opts` of a data set whose chunks are JPEGs of this size.

    Parameters
    ----------
    quality
        1 to 100, as libjpeg counts.
    width, height
        Of one picture, in pixels.
    color
        `MONO` or `RGB`.

    Examples
    --------
    >>> jpeg_options(90, 256, 192, RGB)
    (90, 256, 192, 1)
    """
    if not 1 <= quality <= 100:
        raise OptionError(f"JPEG quality {quality!r}: it must be from 1 to 100.")
    options = (
        operator.index(quality), operator.index(width),
        operator.index(height), operator.index(color),
    )  # fmt: skip
    try:
        _picture_shape(options)
    except FormatError as error:
        raise OptionError(str(error)) from None
    return options


def check_chunk_shape(
    cd_values: Sequence[int], chunk_shape: Sequence[int], dtype: npt.DTypeLike
) -> None:
    """Refuse a data set whose chunks are not the picture that its JPEG options speak of.

    To be called before any chunk of a file goes through HDF5: HDF5 trusts the size of what a filter
    returns, so that reading a chunk of such a data set reads memory that is not its own.
    """
    height, width, channels = _picture_shape(cd_values)
    found = np.dtype(dtype)
    if found != np.dtype(np.uint8):
        raise FormatError(
            f"a data set of {str(found)!r} under the JPEG filter, which holds 'uint8' alone. "
            "A file that says so is damaged: pack it again from its sources."
        )
    size = functools.reduce(operator.mul, (int(side) for side in chunk_shape), 1)
    if size != height * width * channels:
        raise FormatError(
            f"chunks of {tuple(chunk_shape)!r} = {size} bytes under the JPEG filter, whose options "
            f"{tuple(cd_values)!r} say {height} x {width} x {channels} = "
            f"{height * width * channels} bytes. "
            "A file that says so is damaged: pack it again from its sources."
        )


def _picture_shape(cd_values: Sequence[int]) -> tuple[int, int, int]:
    """Return (height, width, channels) of the picture in a chunk."""
    if len(cd_values) < 4:
        raise FormatError(
            f"JPEG filter options {tuple(cd_values)!r}: wanted (quality, width, height, color)."
        )
    _, width, height, color = cd_values[:4]
    if color not in (MONO, RGB):
        raise FormatError(f"JPEG color mode {color!r}: wanted 0 (grey) or 1 (RGB).")
    channels = 3 if color == RGB else 1
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise FormatError(
            f"a JPEG of {width!r} x {height!r} pixels: each side must be from 1 to {MAX_SIDE}."
        )
    if width * height * channels > MAX_BYTES:
        raise FormatError(
            f"a JPEG of {width!r} x {height!r} pixels: more than {MAX_BYTES} bytes in a chunk."
        )
    return height, width, channels


# Bytes to pixels and back, between buffers of HDF5


def decode_picture(
    data: bytes | memoryview, shape: tuple[int, int, int], pixels: memoryview
) -> None:
    """Decode `data` into `pixels`, which has room for exactly `shape`.

    With the accurate DCT and upsampling (the fast ones differ by up to 30 levels), and warnings
    taken as errors, the pixels are those of `cv2.imdecode` bit for bit.
    """
    if baseline.decode(data, np.frombuffer(pixels, np.uint8).reshape(shape)):
        return
    known = _plain_headers.get(shape)
    if known is None or bytes(data[: len(known)]) != known:
        _look_at_header(data, shape)
    image = simplejpeg.decode_jpeg(
        data,
        "GRAY" if shape[2] == 1 else "RGB",
        fastdct=False,
        fastupsample=False,
        buffer=pixels,
        strict=True,
    )
    if image.shape != shape:
        raise FormatError(f"the chunk holds a JPEG of {image.shape}, not {shape}")


def decode_pictures(
    data: Sequence[Any], shape: tuple[int, ...], pixels: Sequence[npt.NDArray[np.uint8]]
) -> bool:
    """As `decode_picture` of each; False where one does not decode.

    Nothing runs between two pictures but what decodes them. What our own decoder leaves goes
    through libjpeg, if all of it begins like the last picture of this shape.
    """
    left = baseline.decode_all(data, shape, pixels)
    if not left:
        return True
    data, pixels = [data[at] for at in left], [pixels[at] for at in left]
    known = _plain_headers.get(shape)
    if known is None or any(bytes(one[: len(known)]) != known for one in data):
        return False
    decode = _TO_GREY if shape[2] == 1 else _TO_RGB
    try:
        images = [decode(one, buffer=room) for one, room in zip(data, pixels, strict=True)]
    except (ValueError, RuntimeError):
        return False
    return all(image.shape == shape for image in images)


_EXACTLY = {"fastdct": False, "fastupsample": False, "strict": True}
_TO_RGB = functools.partial(simplejpeg.decode_jpeg, colorspace="RGB", **_EXACTLY)
_TO_GREY = functools.partial(simplejpeg.decode_jpeg, colorspace="GRAY", **_EXACTLY)

_plain_headers: dict[tuple[int, ...], bytes] = {}
"""By shape, the beginning of a JPEG that was found right, up to the end of its frame header.

Pictures that one encoder made begin alike, and what begins so has the same shape. A header is
looked at for 3 us, in which other threads wait for the GIL; it is compared in a tenth of that.
"""
_MOST_HEADERS, _LONGEST_HEADER = 256, 4096


def _look_at_header(data: bytes | memoryview, shape: tuple[int, int, int]) -> None:
    """Refuse a JPEG of another size or kind; remember how a plain one begins."""
    found = _frame(data)
    if found is None or found[:3] != shape:
        _check_header(data, shape)
    elif found[3] <= _LONGEST_HEADER and (
        len(_plain_headers) < _MOST_HEADERS or shape in _plain_headers
    ):
        _plain_headers[shape] = bytes(data[: found[3]])


def _frame(data: bytes | memoryview) -> tuple[int, int, int, int] | None:
    """(height, width, components) of a JPEG whose header is as plain as nearly all are.

    And where its frame header ends. libjpeg's own look at the header comes again with decoding;
    in 4 us and a second turn at the GIL it would say nothing else. None where it might.
    """
    place, end = 2, len(data) - 10
    while place < end and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _FRAMES:
            height = data[place + 5] << 8 | data[place + 6]
            width, count = data[place + 7] << 8 | data[place + 8], data[place + 9]
            return height, width, count, place + 10
        if marker not in _SEGMENTS:
            return None
        place += 2 + (data[place + 2] << 8 | data[place + 3])
    return None


_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Markers of baseline, extended and progressive JPEGs."""
_SEGMENTS = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
"""Markers of what may stand before: tables, application data, comments."""


def _check_header(data: bytes | memoryview, shape: tuple[int, int, int]) -> None:
    """Refuse a JPEG of another size or kind before it is decoded."""
    height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    channels = 1 if space == "Gray" else 3
    if (height, width, channels) != shape or space not in ("Gray", "YCbCr", "RGB"):
        wanted = "{} x {} x {}".format(*shape)
        raise FormatError(f"the chunk holds a {space} JPEG of {height} x {width}, not {wanted}")


def _encode(pixels: memoryview, shape: tuple[int, int, int], quality: int) -> bytes:
    """Encode the pixels as the HDF Group's plugin does, which also clamps the quality."""
    size = functools.reduce(operator.mul, shape)
    if len(pixels) != size:
        raise FormatError(f"a chunk of {len(pixels)} bytes, not the {size} of {shape}")
    image = np.frombuffer(pixels, np.uint8).reshape(shape)
    return jpeg.encode(image, min(max(quality, 1), 100))


# The functions of HDF5 and Python that are needed, and the structure that HDF5 wants

_hid_t = ctypes.c_int64


class _Library:
    """The HDF5 that h5py itself is linked with, and no other that may be on the machine."""

    def __init__(self) -> None:
        # A handle of the extension module finds the symbols of what it is linked with, whatever
        # that file is called (the wheels put a hash in it). Windows does not search like that, but
        # there the library keeps its name, and is loaded already.
        name = "hdf5.dll" if sys.platform == "win32" else h5py.h5z.__file__
        self._handle = ctypes.PyDLL(name)  # PyDLL: these calls are too short to give up the GIL
        pointer, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
        # HDF5 frees what a filter allocated, and the filter what HDF5 did: by the same functions,
        # or the heap is corrupt wherever HDF5's C library is not ours (Windows) or it adds guards.
        self.allocate = self._bind("H5allocate_memory", pointer, size, ctypes.c_bool)
        self.free = self._bind("H5free_memory", ctypes.c_int, pointer)
        self.type_class = self._bind("H5Tget_class", ctypes.c_int, _hid_t)
        self.type_size = self._bind("H5Tget_size", size, _hid_t)
        self.type_sign = self._bind("H5Tget_sign", ctypes.c_int, _hid_t)
        self.space_size = self._bind("H5Sget_simple_extent_npoints", ctypes.c_int64, _hid_t)
        self.get_filter = self._bind(
            "H5Pget_filter_by_id2", ctypes.c_int,
            _hid_t, ctypes.c_int, pointer, pointer, pointer, size, pointer, pointer,
        )  # fmt: skip
        self.modify_filter = self._bind(
            "H5Pmodify_filter", ctypes.c_int, _hid_t, ctypes.c_int, ctypes.c_uint, size, pointer
        )
        self._push = self._bind(
            "H5Epush2", ctypes.c_int,
            _hid_t, text, text, ctypes.c_uint, _hid_t, _hid_t, _hid_t, text,
        )  # fmt: skip

    def _bind(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        function = getattr(self._handle, name)
        function.restype, function.argtypes = result, arguments
        return function  # type: ignore[no-any-return]

    def push_error(self, reason: str) -> None:
        """Add a reason to HDF5's error stack, whose innermost line h5py puts into its `OSError`."""
        line = f"JPEG filter: {reason}".replace("%", "%%").encode("utf-8", "replace")[:500]
        codes = [
            _hid_t.in_dll(self._handle, name).value
            for name in ("H5E_ERR_CLS_g", "H5E_PLINE_g", "H5E_CALLBACK_g")
        ]
        self._push(0, b"filters.py", b"celeiro", 0, *codes, line)

    def options(self, dcpl: int) -> list[int]:
        """Return the filter's `cd_values` of a data set that is being created."""
        flags, count = ctypes.c_uint(), ctypes.c_size_t(4)
        values = (ctypes.c_uint * 4)()
        pointers = ctypes.byref(flags), ctypes.byref(count), values
        if self.get_filter(dcpl, JPEG, *pointers, 0, None, None) < 0:
            raise FormatError("the options of the data set cannot be read")
        return list(values)[: count.value]


@functools.cache
def _library() -> _Library:
    return _Library()


_view = ctypes.pythonapi.PyMemoryView_FromMemory
_view.restype = ctypes.py_object
_view.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
_READABLE, _WRITABLE = 0x100, 0x200

_ARGUMENTS = (
    ctypes.c_uint,  # flags
    ctypes.c_size_t,  # cd_nelmts
    ctypes.c_void_p,  # cd_values: unsigned *
    ctypes.c_size_t,  # nbytes
    ctypes.c_void_p,  # buf_size: size_t *
    ctypes.c_void_p,  # buf: void **
)
_FILTER = ctypes.PYFUNCTYPE(ctypes.c_size_t, *_ARGUMENTS)
_FILTER_WITHOUT_RESULT = ctypes.PYFUNCTYPE(None, *_ARGUMENTS)
_CHECK = ctypes.PYFUNCTYPE(ctypes.c_int, _hid_t, _hid_t, _hid_t)


class _FilterClass(ctypes.Structure):
    """`H5Z_class2_t`."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("id", ctypes.c_int),
        ("encoder_present", ctypes.c_uint),
        ("decoder_present", ctypes.c_uint),
        ("name", ctypes.c_char_p),
        ("can_apply", _CHECK),
        ("set_local", _CHECK),
        ("filter", _FILTER),
    )


# Creating a data set


def _can_apply(dcpl: int, data_type: int, chunk: int) -> int:
    """Refuse a data set whose chunks are not the picture of its options.

    -1 and not 0: after 0, HDF5 creates the data set all the same where the filter is optional.
    """
    try:
        library = _library()
        kind = library.type_class(data_type), library.type_size(data_type)
        if kind != (0, 1) or library.type_sign(data_type) != 0:  # H5T_INTEGER, H5T_SGN_NONE
            raise FormatError("the data set must be of unsigned 8-bit integers")
        options = library.options(dcpl)
        check_chunk_shape(options, (library.space_size(chunk),), np.uint8)
    except BaseException as error:
        return _refuse(error)
    return 1


def _set_local(dcpl: int, _data_type: int, _chunk: int) -> int:
    """Make the filter mandatory, for h5py's `create_dataset` can only say optional."""
    try:
        library = _library()
        options = (ctypes.c_uint * 4)(*library.options(dcpl))
        return int(library.modify_filter(dcpl, JPEG, h5py.h5z.FLAG_MANDATORY, 4, options))
    except BaseException as error:
        return _refuse(error)


def _refuse(error: BaseException) -> int:
    if not isinstance(error, Exception):
        _postpone(error)
    _library().push_error(_reason(error))
    return -1


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


# Reading and writing a chunk


def _filter(
    flags: int, count: int, options: int, size: int, size_pointer: int, pointer: int
) -> None:
    """Leave in `_outbox` what HDF5 is to be told: the size of the result, or 0 for an error.

    An interrupt (what is no `Exception`: Ctrl-C, a signal handler that calls `sys.exit`) is no
    fault of the chunk: it is put off until HDF5 is done, and nothing is left, so that `_second`
    begins anew.
    """
    try:
        if _is_overdue():
            _fail("interrupted")
        elif flags & h5py.h5z.FLAG_REVERSE:
            _read(options, count, size, size_pointer, pointer)
        else:
            _write(options, count, size, size_pointer, pointer)
    except Exception as error:
        _fail(_reason(error))
    except BaseException as error:
        if not _postpone(error):
            _fail(f"interrupted by {_reason(error)}")


def _fail(reason: str) -> None:
    """Make HDF5 raise h5py's `OSError`, and say why.

    HDF5 2.0 throws away what a filter adds to its errors on reading and on writing (not so on
    creating), so that the exception alone would never say what is wrong with a chunk: hence the
    log.
    """
    _outbox["size"] = 0
    _logger.warning("a chunk under the JPEG filter: %s", reason)
    _library().push_error(reason)


def _read(options: int, count: int, size: int, size_pointer: int, pointer: int) -> None:
    """Put the pixels in the place of the JPEG."""
    _, shape = _options_at(options, count)
    pixels = shape[0] * shape[1] * shape[2]
    data = _view(ctypes.c_void_p.from_address(pointer).value, size, _READABLE)
    _replace(
        pixels, lambda room: decode_picture(data, shape, _view(room, pixels, _WRITABLE)),
        size_pointer, pointer,
    )  # fmt: skip


def _write(options: int, count: int, size: int, size_pointer: int, pointer: int) -> None:
    """Put the JPEG in the place of the pixels."""
    quality, shape = _options_at(options, count)
    pixels = _view(ctypes.c_void_p.from_address(pointer).value, size, _READABLE)
    encoded = _encode(pixels, shape, quality)
    _replace(
        len(encoded), lambda room: ctypes.memmove(room, encoded, len(encoded)),
        size_pointer, pointer,
    )  # fmt: skip


def _options_at(options: int, count: int) -> tuple[int, tuple[int, int, int]]:
    """Return the quality and the (height, width, channels) that HDF5's `cd_values` say."""
    values = list((ctypes.c_uint * min(count, 4)).from_address(options)) if count else []
    shape = _picture_shape(values)
    return values[0], shape


def _replace(size: int, fill: Callable[[int], object], size_pointer: int, pointer: int) -> None:
    """Replace HDF5's buffer by a new one that `fill` fills, if it does not raise."""
    library = _library()
    room = library.allocate(size, False)
    if not room:
        raise MemoryError(f"no memory for {size} bytes")
    try:
        fill(room)
        buffer = ctypes.c_void_p.from_address(pointer)
        buffer_size = ctypes.c_size_t.from_address(size_pointer)
        old = buffer.value
        # No call stands between these three, so no interrupt can come between them: CPython looks
        # for signals on calls and on jumps backwards only.
        buffer.value = room
        buffer_size.value = size
        _outbox["size"] = size
    except BaseException:
        if "size" not in _outbox:
            library.free(room)
        raise
    library.free(old)


# Interrupts
#
# One function with `except BaseException` around everything is not enough. A signal that arrives
# while HDF5 reads the disk waits for Python, and what its handler raises is raised at the first
# instruction of that function, before the `try`: 5,283 times in 5 s of signals. ctypes then gives
# HDF5 whatever was on the stack, mostly not 0, and HDF5 takes the JPEG itself for the pixels, and
# keeps it in its cache. So the value that HDF5 gets never is what a Python function returned.


class _Outbox(dict[str, int]):
    """Where `_filter` leaves its result. `size` takes it out, and is 0 if there is none.

    It is taken out in C from end to end (property, methodcaller, dict.pop): nothing can be raised.
    One is enough, because whoever calls HDF5 through h5py holds h5py's lock.
    """

    size = property(operator.methodcaller("pop", "size", 0))


_outbox = _Outbox()


def _second(_result: object, _function: object, arguments: tuple[int, ...]) -> None:
    """Begin anew where `_first` was interrupted; ctypes calls this after every call of it.

    If it never began, what the signal's handler raised is lost (Python writes it to stderr as
    ignored); nearly always it was a KeyboardInterrupt.
    """
    if "size" not in _outbox:
        _postpone(KeyboardInterrupt())
        _filter(*arguments)


_first: Any = _FILTER_WITHOUT_RESULT(_filter)
_first.errcheck = _second
_sealed: Any = _FILTER_WITHOUT_RESULT(_first)
_sealed.restype = functools.partial(getattr, _outbox, "size")  # getattr(_outbox, "size", ignored)
_entry = _FILTER(_sealed)

_OVERDUE_AFTER = 0.5
"""Seconds that a read of many chunks may go on after an interrupt, before it is made to fail."""


class _Postponed:
    """A handler of SIGINT for the few milliseconds until HDF5 is done; then it raises `error`.

    Nothing that the filter could call would wait that long: `raise_signal`, `interrupt_main` and
    `PyThreadState_SetAsyncExc` all take effect within the next call, which is still the filter's.
    So this has itself called again and again, at every call that Python makes, until the Python
    that it interrupts is somebody else's: the first after HDF5 has returned.
    """

    def __init__(self, error: BaseException, previous: Any) -> None:
        self.error = error
        self.previous = previous
        self.since = time.monotonic()
        self.interrupt = _thread.interrupt_main

    interrupted_again = property(operator.methodcaller("interrupt"))
    """Makes the next call of Python one of this handler.

    An attribute, for CPython looks for signals after a call, so that a call of `interrupt_main` in
    the handler would interrupt the handler, and so on without end; after an attribute it does not.
    """

    def __call__(self, _signal: int, frame: FrameType | None) -> object:
        global _postponed
        if _would_be_lost(frame):
            return self.interrupted_again
        _postponed = None
        signal.signal(signal.SIGINT, self.previous)
        raise self.error


_postponed: _Postponed | None = None


def _postpone(error: BaseException) -> bool:
    """Raise `error` as soon as HDF5 is done, as Python does it with a filter written in C.

    False where that cannot be: outside the main thread, where no signal handler raises, and under a
    handler of SIGINT that Python does not know.
    """
    global _postponed
    if threading.current_thread() is not threading.main_thread():
        return False
    previous = signal.getsignal(signal.SIGINT)
    if previous is None:
        return False
    if not isinstance(previous, _Postponed):
        error.__traceback__ = None  # its frames hold views of memory that is HDF5's to free
        _postponed = _Postponed(error, previous)
        signal.signal(signal.SIGINT, _postponed)
    _thread.interrupt_main()
    return True


def _would_be_lost(frame: FrameType | None) -> bool:
    """Whether Python or ctypes would ignore what is raised here.

    Inside the filter; and where an object is being deleted, as in `file["imagens"][0]` the data set
    is, for which h5py runs a callback of `weakref`.
    """
    while frame is not None:
        if frame.f_globals is _GLOBALS or frame.f_code.co_name == "__del__":
            return True
        if frame.f_globals.get("__name__") in ("weakref", "_weakrefset"):
            return True
        frame = frame.f_back
    return False


_GLOBALS = globals()


def _is_overdue() -> bool:
    waiting = _postponed
    return (
        waiting is not None
        and threading.current_thread() is threading.main_thread()
        and time.monotonic() - waiting.since > _OVERDUE_AFTER
        and signal.getsignal(signal.SIGINT) is waiting  # nobody has replaced it
    )


# Registration

_CLASS = _FilterClass(
    version=h5py.h5z.CLASS_T_VERS,
    id=JPEG,
    encoder_present=1,
    decoder_present=1,
    # Written into every data set; h5dump shows it. Whoever has lost us finds the plugin by it.
    name=b"JPEG, HDF5 filter 32019, see https://github.com/HDFGroup/hdf5_plugins",
    can_apply=_CHECK(_can_apply),
    set_local=_CHECK(_set_local),
    filter=_entry,
)


def register() -> None:
    """Make HDF5 as h5py has it read and write JPEG data sets; `import celeiro` calls this.

    Calling it again is harmless. Where another filter of the same number was registered, or would
    be found as a plugin on the disk, ours takes its place: it gives the same pixels, and does not
    crash on a JPEG of another size. A chunk that cannot be read is h5py's `OSError`; the reason is
    a warning in the log, which Python shows on stderr unless told otherwise.
    """
    try:
        _library()
    except (OSError, AttributeError) as error:
        _logger.warning("plain h5py cannot read JPEG data sets here, celeiro can: %s", error)
        return
    h5py.h5z.register_filter(ctypes.addressof(_CLASS))
    atexit.unregister(_flush)
    atexit.register(_flush)


def _flush() -> None:
    """Write what open files still hold in HDF5's cache; once Python is gone, nobody encodes it."""
    for file in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE):
        with contextlib.suppress(Exception):
            h5py.h5f.flush(file)
