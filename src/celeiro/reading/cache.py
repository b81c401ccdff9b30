"""A file's stored bytes in memory, loaded in the background from the beginning on.

    file  ████████████████░░░░░░░░        loaded: from memory; the rest: from the file

The memory is private and anonymous, in huge pages where the kernel has them (copying rows out of
those is twice as fast as out of the page cache's scattered 4 KB). Processes forked later share it
for as long as nobody writes to it, and nobody does.
"""

from __future__ import annotations

import logging
import mmap
import os
import re
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celeiro.storage.local import File

log = logging.getLogger(__name__)

_STEP = 8 << 20
# Left free for everything else.
_SPARE = 1 << 30
_HUGE = 2 << 20


class Cache:
    """The bytes of a file, as far as they are loaded."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.loaded = 0
        """Bytes from the beginning of the file on that are in memory."""
        self.error: Exception | None = None
        """Why loading ended early, if it did."""
        self._memory: mmap.mmap | None = None
        self._view = memoryview(b"")
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to load, where the file fits; otherwise say so and leave it."""
        free = available_memory()
        if free is not None and self.file.size + _SPARE > free:
            log.warning(
                "%s: its %d MB do not fit into the %d MB of memory that are free; it is read from "
                "the file.",
                self.file.path,
                self.file.size >> 20,
                free >> 20,
            )
            return
        if not self.file.size:
            return
        # A huge page more: they must begin at a multiple of their size.
        size = self.file.size + _HUGE
        try:
            if hasattr(mmap, "MAP_ANONYMOUS"):
                self._memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            else:
                self._memory = mmap.mmap(-1, size)
        except OSError as error:  # a limit of this process, or a system that promises no more
            log.warning(
                "%s: no %d MB of memory for it (%s); it is read from the file.",
                self.file.path,
                self.file.size >> 20,
                error,
            )
            return
        if hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                self._memory.madvise(mmap.MADV_HUGEPAGE)
            except OSError as error:
                log.info("%s: no huge pages: %s", self.file.path, error)
        self._view = memoryview(self._memory)[: self.file.size]
        self._thread = threading.Thread(
            target=_load_all, args=(weakref.ref(self),), name="celeiro-cache", daemon=True
        )
        self._thread.start()

    def look(self, offset: int, length: int) -> memoryview | None:
        """Bytes that are loaded; None for others."""
        if offset + length > self.loaded:
            return None
        return self._view[offset : offset + length]

    @property
    def fraction(self) -> float:
        """Part of the file that is loaded, 0 to 1."""
        return self.loaded / self.file.size if self.file.size else 1.0

    @property
    def huge_bytes(self) -> int | None:
        """Bytes of it that stand in huge pages; None where the system does not tell."""
        return _huge_bytes(self._view) if self._memory is not None else 0

    def wait(self, timeout: float | None = None) -> bool:
        """Until all is loaded, or so many seconds; True if it is."""
        if self._thread is not None:
            self._thread.join(timeout)
        if self.error is not None:
            raise self.error
        return self._memory is not None and self.loaded == self.file.size

    def close(self) -> None:
        """Stop loading; the memory goes once nobody looks at it any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.loaded = 0
        self._view = memoryview(b"")
        self._memory = None

    def _load_some(self) -> bool:
        """Load the next part; False when that was all."""
        try:
            step = min(_STEP, self.file.size - self.loaded)
            self.file.read_into(self._view[self.loaded : self.loaded + step], self.loaded)
            self.file.check()
            self.loaded += step
        except Exception as error:
            # Whoever reads what is not loaded meets the same at the file itself.
            self.error = error
            log.warning("%s: no longer loaded into memory: %s", self.file.path, error)
            return False
        return self.loaded < self.file.size and not self._stop.is_set()

    def _tell_end(self, seconds: float) -> None:
        huge = self.huge_bytes
        log.info(
            "%s: %d MB in memory after %.1f s, %s in huge pages",
            self.file.path,
            self.file.size >> 20,
            seconds,
            "unknown" if huge is None else f"{huge >> 20} MB",
        )

    def __repr__(self) -> str:
        """How far it is."""
        huge = self.huge_bytes
        pages = "" if huge is None else f", {huge >> 20:,} MB in huge pages"
        return f"<Cache {self.loaded >> 20:,} of {self.file.size >> 20:,} MB{pages}>"


def _load_all(whose: weakref.ref[Cache]) -> None:
    """Load until all is there, or nobody holds the cache any more: this thread does not."""
    began = told = time.monotonic()
    while (cache := whose()) is not None and cache._load_some():
        if time.monotonic() - told > 5:
            told = time.monotonic()
            log.info("%s: %.0f %% in memory", cache.file.path, 100 * cache.fraction)
        del cache
    if cache is not None and cache.error is None and cache.loaded == cache.file.size:
        cache._tell_end(time.monotonic() - began)


def available_memory() -> int | None:
    """Bytes that a process may still take, by the system and its container; None if unknown."""
    free = _first_number("/proc/meminfo", r"MemAvailable:\s+(\d+) kB")
    found = [] if free is None else [free << 10]
    for folder, limit, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        most = _first_number(f"{folder}/{limit}", r"(\d+)")
        now = _first_number(f"{folder}/{used}", r"(\d+)")
        # What the system's cache took and would give back counts as used, and is not.
        idle = _first_number(f"{folder}/memory.stat", r"(?m)^inactive_file (\d+)") or 0
        if most is not None and now is not None:
            found.append(max(0, most - now + idle))
    if found:
        return min(found)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _first_number(path: str, pattern: str) -> int | None:
    try:
        found = re.search(pattern, Path(path).read_text())
    except OSError:
        return None
    return int(found.group(1)) if found else None


def _huge_bytes(view: memoryview) -> int | None:
    """Bytes of huge pages in the mapping that holds `view`, as Linux tells."""
    import numpy as np

    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return None
    address = np.frombuffer(view, np.uint8).ctypes.data if len(view) else 0
    inside = False
    for line in lines:
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= address < int(found[2], 16)
        elif inside and (huge := re.match(r"AnonHugePages:\s+(\d+) kB", line)):
            return int(huge[1]) << 10
    return None
