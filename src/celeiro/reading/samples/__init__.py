"""How samples come out of a file, one layout a module, all of one shape.

    rows.py      contiguous: read into place
    chunks.py    chunked: read, decode into place; each chunk once a batch
    files.py     picture files one after the other: read, decode to whatever size each has
    widened.py   bfloat16: what one of these reads as bits, as float32
    fallback.py  anything else: HDF5 itself, in a process that may crash

None holds the GIL while bytes are copied or decoded, and none but the last calls HDF5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Samples"]


class Samples(Protocol):
    """The samples of one data set."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of each; None where they differ in size."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of their values, in this machine's byte order."""
        ...

    def __len__(self) -> int:
        """Count them."""
        ...

    def read(self, indices: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out`, (len(indices), *shape), with samples 0 ≤ i < len in the order asked.

        `out` is C-contiguous and of `dtype`; only where `shape` is not None.
        """
        ...

    def read_list(self, indices: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        """Samples 0 ≤ i < len in the order asked, each an array of its own."""
        ...
