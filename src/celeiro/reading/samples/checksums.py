"""Stored bytes against the checksum that the file keeps of each sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeiro.errors import SampleError
from celeiro.format.checksum import crc32c
from celeiro.reading import source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Buffer

    from celeiro.reading.source import Source

    Checksums = npt.NDArray[np.uint32] | None


def check(data: Buffer, crcs: Checksums, number: int) -> None:
    """SampleError where the bytes of sample `number` are not those of its checksum.

    Without checksums nothing is checked.
    """
    if crcs is not None and crc32c(data) != crcs[number]:
        raise damaged(number)


def checked_bytes(where: Source, place: tuple[int, int], crcs: Checksums, number: int) -> bytes:
    """The bytes of one sample as they stand in the file; SampleError if they are damaged."""
    data = source.bytes_of(where, *place)
    check(data, crcs, number)
    return data


def damaged(number: int) -> SampleError:
    """The error for bytes that are not those of the checksum."""
    return SampleError("its bytes are not those of its checksum", number)
