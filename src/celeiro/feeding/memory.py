"""Memory of batches, which is used again once nobody holds it any more.

    array = memory.lend((256, 224, 224, 3), np.uint8)   … held: itself, a view, or a tensor of it
    del array                                           … the last of them goes: free again

The invariant: memory that is lent twice was given back in between. Fresh memory costs 10 ms for a
batch of 50 MB, page by page as it is first written to, which is a quarter of decoding that batch.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections import deque
from functools import partial
from operator import call
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

# More than a loader has at work: what its user keeps for a while must not make it forget the rest.
_MOST_FREE = 8


def plain(size: int) -> npt.NDArray[np.uint8]:
    """Memory as NumPy has it: of huge pages, where the system has them."""
    return np.empty(size, np.uint8)


class Memory:
    """Arrays of any shape over blocks of memory that come back by themselves.

    Parameters
    ----------
    allocate
        Gives a block of so many bytes, such as one that a GPU copies from without the processor.
    """

    def __init__(self, allocate: Callable[[int], npt.NDArray[np.uint8]] = plain) -> None:
        self._allocate = allocate
        self._free: deque[npt.NDArray[np.uint8]] = deque(maxlen=_MOST_FREE)
        self._watched: dict[int, weakref.ref[Any]] = {}
        self._numbers = itertools.count()

    def lend(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, turn: tuple[int, str] = (0, "")
    ) -> npt.NDArray[Any]:
        """An array of undefined content; its memory is free again when the last view of it goes.

        `turn` is the batch's number and what of it this is, which only a `Ring` needs to know.
        """
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        block = self._found(size)
        flat = np.frombuffer(block.data, np.uint8, size)
        # NumPy keeps one object alive for all views of `flat`, and their views: what stands at the
        # bottom. When that goes, so did all of them, tensors and memoryviews included.
        bottom: Any = flat
        while isinstance(bottom, np.ndarray):
            bottom = bottom.base
        self._watch(bottom, block)
        return flat.view(dtype).reshape(shape)

    def forget(self) -> None:
        """Let go of what is free."""
        self._free.clear()

    def _watch(self, bottom: Any, block: npt.NDArray[np.uint8]) -> None:
        """Take a block back when `bottom` goes, without a line of Python.

        An exception in what Python calls then is swallowed, Ctrl-C's too, which may come with any
        line of Python: with tiny batches one of some twenty was lost. So it is C all the way:
        `next` has `filter` call each of both, for `append` gives nothing back.
        """
        number = next(self._numbers)
        both = partial(self._free.append, block), partial(self._watched.pop, number, None)
        back: Any = map(call, both)  # type: ignore[arg-type]
        self._watched[number] = weakref.ref(bottom, partial(next, filter(None, back)))

    def _found(self, size: int) -> npt.NDArray[np.uint8]:
        for _ in range(len(self._free)):
            try:
                block = self._free.pop()  # the last one: some of it is in the processor's cache
            except IndexError:
                break
            if size <= len(block) <= max(4096, 2 * size):
                return block
            # Of another size, such as a mask's. The last batch of an epoch takes one that is larger
            # than it needs.
            self._free.appendleft(block)
        return self._allocate(max(1, size))


class Ring(Memory):
    """A few blocks of each kind, lent in turn whether or not somebody holds them still.

    Parameters
    ----------
    count
        Batches that may be there at a time: those at work, and the one that the caller looks at.
    """

    def __init__(
        self, count: int, allocate: Callable[[int], npt.NDArray[np.uint8]] = plain
    ) -> None:
        super().__init__(allocate)
        self._count = count
        self._blocks: dict[tuple[int, str], npt.NDArray[np.uint8]] = {}

    def lend(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, turn: tuple[int, str] = (0, "")
    ) -> npt.NDArray[Any]:
        """An array of undefined content, over the memory that batch number - `count` had."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        number, what = turn
        place = number % self._count, what
        block = self._blocks.get(place)
        if block is None or len(block) < size:
            block = self._blocks[place] = self._allocate(max(1, size))
        return block[:size].view(dtype).reshape(shape)

    def forget(self) -> None:
        """Let go of all blocks."""
        self._blocks.clear()
