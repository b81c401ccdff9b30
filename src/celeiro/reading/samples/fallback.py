"""Samples that only HDF5 can read, in a process of its own: where that crashes, it is an error.

    this process   sample numbers ──stdin──>  python -c "…serve(path, key)"
                   values, or why not  <──stdout──

For filters, types and layouts that celeiro does not decode itself. HDF5 trusts what a file says
and has crashed on files that lie; a crash over there is a message here. Requests and answers are
bare numbers and bytes, nothing is pickled:

    request   count (int64), then so many sample numbers (int64)
    answer    length (int64) ≥ 0, then so many bytes of values; or -length, then so many bytes of
              an error: the sample's number (int64) and what HDF5 says
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
import sys
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from celeiro.errors import ChangedError, FormatError, SampleError
from celeiro.reading import process
from celeiro.reading.threads import Lock

if TYPE_CHECKING:
    import numpy.typing as npt

    from celeiro.storage.local import File

_PROGRAM = "import sys; from celeiro.reading.samples import fallback; fallback.serve(*sys.argv[1:])"
# Bytes of one answer, so that neither side holds more than one batch.
_MOST = 256 << 20


class FallbackSamples:
    """Samples of any data set that h5py reads.

    Parameters
    ----------
    shape
        Of the data set, samples first.
    dtype
        Of its values as h5py gives them.
    stored_dtype
        Name of their type in the file, where that is one of ours; by default that of `dtype`.
    """

    def __init__(
        self,
        file: File,
        key: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        *,
        stored_dtype: str | None = None,
    ) -> None:
        self.shape = shape[1:]
        self.dtype = dtype.newbyteorder("=")
        self.stored_dtype = stored_dtype or str(self.dtype)
        self._count = shape[0]
        self._file = file
        self._arguments = (os.path.abspath(file.path), key)
        self._child: _Child | None = None
        self._lock = Lock()

    def __len__(self) -> int:
        """Count the samples."""
        return self._count

    def read(self, indices: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out` with samples in the order asked."""
        unique, back = np.unique(indices, return_inverse=True)
        step = max(1, _MOST // max(1, out[:1].nbytes))
        with self._lock.plain:
            for first in range(0, len(unique), step):
                wanted = unique[first : first + step]
                values = self._values(wanted)
                mine = np.flatnonzero((back >= first) & (back < first + len(wanted)))
                out[mine] = values[back[mine] - first]

    def read_list(self, indices: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        """Samples in the order asked, as views of one array."""
        out = np.empty((len(indices), *self.shape), self.dtype)
        self.read(indices, out)
        return list(out)

    def _values(self, wanted: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        child = self._child
        if child is not None and child.made_by != os.getpid():
            child.leave()  # a child of our parent answers our parent: its pipes are not ours
            child = None
        if child is None or child.ended:
            self._child = child = _Child(self._arguments)
        try:
            data = child.ask(wanted)
            self._file.check_name()  # it opened the file by its name, perhaps just now
        except ChangedError:
            child.end()
            raise
        except _Died as death:
            raise FormatError(
                f"{self._arguments[0]}: HDF5 {death} while it read {len(wanted)} samples of "
                f"{self._arguments[1]!r} from number {int(wanted[0]):,} on. The file is damaged: "
                "`celeiro verify` tells where."
            ) from None
        due = len(wanted) * math.prod(self.shape) * self.dtype.itemsize
        if len(data) != due:
            raise FormatError(
                f"{self._arguments[0]}: HDF5 gave {len(data):,} bytes for {len(wanted)} samples, "
                f"wanted {due:,}. The file is damaged: `celeiro verify` tells where."
            )
        return np.frombuffer(data, self.dtype).reshape(len(wanted), *self.shape)

    def close(self) -> None:
        """End the other process."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.made_by == os.getpid():
            child.end()
        else:
            child.leave()

    def __del__(self) -> None:
        """End the other process, as Python closes its own files."""
        if getattr(self, "_child", None) is not None:
            self.close()


class _Died(Exception):
    """The other process ended; says how."""


class _Child:
    """The other process."""

    def __init__(self, arguments: tuple[str, str]) -> None:
        self.made_by = os.getpid()
        self.ended = False
        # Unbuffered: a process forked in the middle of a request must not send its rest again.
        self._process = process.start(_PROGRAM, *arguments, bufsize=0)
        atexit.register(self.end)

    def ask(self, wanted: npt.NDArray[np.int64]) -> bytearray:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            _send(stdin, np.int64(len(wanted)).tobytes() + wanted.astype(np.int64).tobytes())
            length = int(np.frombuffer(_exactly(stdout, 8), np.int64)[0])
            data = _exactly(stdout, abs(length))
        except (EOFError, BrokenPipeError):
            raise _Died(self._how_it_ended()) from None
        except BaseException:
            # Interrupted in the middle of an answer: the next one would be taken for its rest.
            self.end()
            raise
        if length < 0:
            number = int(np.frombuffer(data[:8], np.int64)[0])
            raise SampleError(f"HDF5 says: {data[8:].decode('utf-8', 'replace')}", number)
        return data

    def end(self) -> None:
        if self.made_by == os.getpid():
            self.ended = True
            atexit.unregister(self.end)
            self._process.kill()
            self._process.wait()
            self._close_pipes()

    def leave(self) -> None:
        """Let go of what was inherited from the process that this one was forked from."""
        self._process.returncode = 0  # it is not ours to wait for
        atexit.unregister(self.end)
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        self.end()
        if code < 0:
            return f"crashed ({signal.Signals(-code).name})"
        return f"ended with code {code}"


def _send(pipe: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[pipe.write(view) :]


def _exactly(pipe: IO[bytes], length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = pipe.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        view = view[count:]
    return data


def serve(path: str, key: str) -> None:
    """The other process: read samples and send them, until nobody asks any more."""
    import h5py

    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  (registers filters with HDF5)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asked; then our input ends
    stdin, stdout = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    data = None
    while True:
        try:
            count = int(np.frombuffer(_exactly(stdin, 8), np.int64)[0])
            wanted = np.frombuffer(_exactly(stdin, 8 * count), np.int64)
        except EOFError:
            return
        try:
            number = int(wanted[0])
            if data is None:
                # A chunk is decoded once while its neighbours are asked for.
                data = h5py.File(path, "r", locking=False, rdcc_nbytes=64 << 20)[key]
            values = np.empty((count, *data.shape[1:]), data.dtype.newbyteorder("="))
            for at, number in enumerate(wanted.tolist()):
                values[at] = data[number]
        except Exception as error:
            text = np.int64(number).tobytes() + str(error).encode("utf-8", "replace")
            stdout.write(np.int64(-len(text)).tobytes() + text)
        else:
            stdout.write(np.int64(values.nbytes).tobytes())
            stdout.write(values.reshape(-1).view(np.uint8).data)
        stdout.flush()
