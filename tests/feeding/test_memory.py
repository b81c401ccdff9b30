"""Memory of batches: never lent twice at a time, and not forgotten."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from celeiro.feeding.memory import Memory, Ring


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_what_is_let_go_is_used_again() -> None:
    memory = Memory()
    first = memory.lend((4, 5), np.float32)
    at = address(first)
    del first
    assert address(memory.lend((4, 5), np.float32)) == at


@pytest.mark.parametrize(
    "hold",
    [
        lambda a: a[1:],
        lambda a: a.reshape(-1)[::2].T,
        lambda a: a[2:].view(np.uint8),
        lambda a: memoryview(a)[1:],
        lambda a: np.asarray(memoryview(a)),
        lambda a: iter(a),
    ],
    ids=["rows", "strides", "bytes", "memoryview", "of a memoryview", "iterator"],
)
def test_what_is_held_in_any_way_is_not_lent_again(hold) -> None:
    memory = Memory()
    array = memory.lend((4, 5), np.float32)
    array[...] = 7
    at = address(array)
    held = hold(array)
    del array
    other = memory.lend((4, 5), np.float32)
    assert address(other) != at
    del held
    gc.collect()
    assert address(memory.lend((4, 5), np.float32)) == at


def test_a_tensor_holds_its_memory() -> None:
    torch = pytest.importorskip("torch")
    memory = Memory()
    array = memory.lend((4, 5), np.float32)
    at = address(array)
    tensor = torch.from_numpy(array)[1:].permute(1, 0)
    del array
    assert address(memory.lend((4, 5), np.float32)) != at
    del tensor
    assert address(memory.lend((4, 5), np.float32)) == at


def test_a_small_last_batch_takes_and_gives_back_a_large_block() -> None:
    memory = Memory()
    at = address(memory.lend((8, 1000), np.uint8))
    small = memory.lend((5, 1000), np.uint8)
    assert address(small) == at
    del small
    assert address(memory.lend((8, 1000), np.uint8)) == at


def test_nothing_may_be_lent() -> None:
    assert Memory().lend((0, 5), np.uint8).shape == (0, 5)


def test_threads_never_share_a_block() -> None:
    memory = Memory()
    wrong = []

    def use(mark: int) -> None:
        for _ in range(300):
            array = memory.lend((64,), np.uint8)
            array[:] = mark
            if (array != mark).any():
                wrong.append(mark)

    threads = [threading.Thread(target=use, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_blocks_of_two_kinds_are_both_used_again() -> None:
    """Images and masks."""
    allocated = []

    def allocate(size: int) -> np.ndarray:
        allocated.append(size)
        return np.empty(size, np.uint8)

    memory = Memory(allocate)
    for _ in range(20):
        images, masks = memory.lend((8, 9000), np.uint8), memory.lend((8, 3000), np.uint8)
        del images, masks
    assert sorted(allocated) == [24_000, 72_000]


def test_a_ring_lends_the_same_blocks_in_turn() -> None:
    ring = Ring(3)
    found = [address(ring.lend((10,), np.uint16, (n, "images"))) for n in range(7)]
    assert found[:3] == found[3:6]
    assert found[6] == found[0]
    assert len(set(found)) == 3
    assert address(ring.lend((10,), np.uint16, (0, "mask"))) not in found
