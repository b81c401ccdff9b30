"""What needs more than one sample: labels as rows, mixtures, functions of a batch."""

from __future__ import annotations

import numpy as np
import pytest

from celeiro.errors import OptionError
from celeiro.feeding.transforms import CutMix, MixUp, OnBatch, OneHot
from celeiro.feeding.transforms.mixing import beta_quantile
from celeiro.feeding.transforms.one_hot import one_hot


def batch_of(n, dtype="f4", chw=True):
    images = np.random.default_rng(0).random((n, 3, 12, 16)).astype("f4")
    if dtype == "u1":
        images = (images * 255).astype("u1")
    return images if chw else np.ascontiguousarray(np.moveaxis(images, 1, 3))


def run(step, images, labels, u, chw=True, classes=4):
    return step.batch(images.copy(), labels, u, chw=chw, classes=classes)


def test_one_hot_is_1_at_the_label():
    rows = run(OneHot(), batch_of(3), np.array([2, 0, 3]), [])[1]
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert run(OneHot(6), batch_of(3), np.array([2, 0, 3]), [])[1].shape == (3, 6)
    assert one_hot(rows, 4) is rows


@pytest.mark.parametrize("labels", [[0, 4], [-1, 0]])
def test_labels_out_of_range_say_how_many_classes_there_are(labels):
    with pytest.raises(OptionError, match="of 4 classes: wanted 0 to 3"):
        one_hot(np.array(labels), 4)


def test_labels_that_are_none_or_floats_or_uncounted_are_refused():
    with pytest.raises(OptionError, match="there are none"):
        one_hot(None, 4)
    with pytest.raises(OptionError, match="whole number"):
        one_hot(np.array([0.5]), 4)
    with pytest.raises(OptionError, match="classes=…"):
        one_hot(np.array([1]), None)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 2.0, 7.0])
def test_the_beta_quantile_is_scipys(alpha):
    special = pytest.importorskip("scipy.special")
    for u in (1e-6, 0.01, 0.1, 0.4, 0.5, 0.77, 0.99, 1 - 1e-9):
        ours, wanted = beta_quantile(u, alpha), special.betaincinv(alpha, alpha, u)
        assert ours == pytest.approx(wanted, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_have_the_variance_of_their_distribution(alpha):
    shares = np.array([beta_quantile((i + 0.5) / 2000, alpha) for i in range(2000)])
    assert shares.mean() == pytest.approx(0.5, abs=1e-9)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.002)


def turned(array):
    """Neighbours exchanged, where torchvision turns the batch by one."""
    return array.reshape(-1, 2, *array.shape[1:])[:, ::-1].reshape(array.shape)


@pytest.mark.parametrize("step", ["MixUp", "CutMix"])
@pytest.mark.parametrize("chw", [True, False])
def test_mixtures_are_torchvisions_with_neighbours_for_a_turn(v2, step, chw, monkeypatch):
    import torch

    images, labels = batch_of(6), np.array([0, 1, 2, 3, 0, 1])
    ours = {"MixUp": MixUp(0.4), "CutMix": CutMix(1.0)}[step]
    theirs = getattr(v2, step)(alpha=ours.alpha, num_classes=4)
    monkeypatch.setattr(torch.Tensor, "roll", lambda x, *_: torch.from_numpy(turned(x.numpy())))
    for u in np.random.default_rng(1).random((20, 3)).tolist():
        share = torch.tensor([beta_quantile(u[0], ours.alpha)], dtype=torch.float64)
        monkeypatch.setattr(theirs._dist, "sample", lambda _, share=share: share)
        places = iter(u[1:])
        monkeypatch.setattr(
            torch, "randint", lambda n, size, p=places: torch.tensor([int(next(p) * n)])
        )
        wanted = theirs(torch.from_numpy(images), torch.from_numpy(labels))
        given = images if chw else np.moveaxis(images, 1, 3)
        mixed, rows = run(ours, given, labels, u, chw=chw)
        mixed = mixed if chw else np.moveaxis(mixed, 3, 1)
        assert np.allclose(mixed, wanted[0].numpy(), atol=1e-6)
        assert np.allclose(rows, wanted[1].numpy(), atol=1e-6)


@pytest.mark.parametrize("step", [MixUp(1.0), CutMix()])
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_a_global_batch_gives_the_same_however_it_is_split(step, dtype):
    images, labels = batch_of(8, dtype), np.arange(8) % 4
    u = [0.3, 0.4, 0.6]
    whole = run(step, images, labels, u)
    for parts in ([4, 4], [2, 6]):
        at, pieces = 0, []
        for n in parts:
            pieces.append(run(step, images[at : at + n], labels[at : at + n], u))
            at += n
        for all_at_once, piece in zip(whole, zip(*pieces, strict=True), strict=True):
            assert np.array_equal(all_at_once, np.concatenate(piece))


@pytest.mark.parametrize("step", [MixUp(1.0), CutMix()])
def test_an_odd_last_sample_stays_as_it_is(step):
    images, labels = batch_of(5), np.arange(5) % 4
    mixed, rows = run(step, images, labels, [0.4, 0.5, 0.5])
    assert np.array_equal(mixed[4], images[4])
    assert rows[4].tolist() == [1, 0, 0, 0]
    assert not np.array_equal(mixed[:4], images[:4])
    assert np.allclose(rows.sum(axis=1), 1)


def test_bytes_are_mixed_and_rounded():
    images = np.array([[[[[10]]]], [[[[21]]]]], np.uint8).reshape(2, 1, 1, 1)
    u = 0.3  # alpha 1: the share itself
    mixed, _ = run(MixUp(1.0), images, np.array([0, 1]), [u])
    assert mixed.dtype == np.uint8
    assert mixed.ravel().tolist() == [round(3 + 14.7), round(6.3 + 7)]


def test_mixing_is_done_in_the_batchs_own_memory():
    for step in (MixUp(), CutMix()):
        images = batch_of(4)
        mixed, _ = step.batch(images, np.zeros(4, int), [0.4, 0.5, 0.5], chw=True, classes=2)
        assert np.shares_memory(mixed, images)


@pytest.mark.parametrize("step", [MixUp, CutMix])
@pytest.mark.parametrize("alpha", [0, -1, float("nan"), float("inf")])
def test_what_is_no_beta_distribution_is_refused(step, alpha):
    with pytest.raises(OptionError, match="above 0"):
        step(alpha)


def test_cutmix_wants_pictures():
    with pytest.raises(OptionError, match="wanted pictures"):
        run(CutMix(), np.zeros((4, 7), "f4"), np.zeros(4, int), [0.4, 0.5, 0.5], chw=False)


def test_any_function_of_a_batch_is_called():
    images, labels = batch_of(4), np.arange(4)
    assert np.array_equal(run(OnBatch(lambda x: x * 2), images, labels, [0.5])[0], images * 2)

    def both(x, y):
        return x + 1, y[::-1]

    mixed, turned_labels = run(OnBatch(both, labels=True), images, labels, [0.5])
    assert np.array_equal(mixed, images + 1)
    assert turned_labels.tolist() == [3, 2, 1, 0]


def test_a_function_that_wants_random_numbers_gets_the_batchs_own():
    def jitter(x, rng):
        return x + rng.random()

    images = batch_of(2)
    first, again, other = (run(OnBatch(jitter), images, None, [u])[0] for u in (0.3, 0.3, 0.4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_torchvisions_mixup_works_on_batches_and_replays(v2):
    import torch

    step = OnBatch(v2.MixUp(alpha=1.0, num_classes=4), labels=True)
    before = torch.random.get_rng_state()
    images, labels = batch_of(4), np.arange(4)
    first, again, other = (run(step, images, labels, [u]) for u in (0.3, 0.3, 0.4))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    assert first[1].shape == (4, 4)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_module_of_ones_own_gets_tensors_and_leaves_no_gradients():
    torch = pytest.importorskip("torch")

    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, images):
            return images * self.scale + torch.rand(())

    images, step = batch_of(2), OnBatch(Scaled())
    first, again, other = (run(step, images, None, [u])[0] for u in (0.3, 0.3, 0.4))
    assert isinstance(first, np.ndarray)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(OptionError, match="wanted a function"):
        OnBatch(3)
