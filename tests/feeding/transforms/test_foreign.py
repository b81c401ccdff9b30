"""Transforms of other libraries: called as they want it, and replayed as ours are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from celeiro.errors import OptionError
from celeiro.feeding.transforms import Normalize, RandomResizedCrop, Resize, ToCHW, ToFloat
from celeiro.feeding.transforms.chain import Chain


def noise(height=40, width=50, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def chain_of(*steps, shape=(40, 50, 3)):
    return Chain(
        list(steps), shape=shape, channels=3, dtype="u1", mean=(120,) * 3, std=(60,) * 3, classes=4
    )


def apply(chain, image, u=None):
    u = [0.3] * chain.draws if u is None else u
    return chain.apply(image, chain.plan(*image.shape[:2], u))


@pytest.fixture(scope="module")
def albumentations():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for its releases
        return pytest.importorskip("albumentations")


def test_a_plain_function_of_a_picture_is_called():
    chain = chain_of(lambda image: image[::-1])
    assert np.array_equal(apply(chain, noise()), noise()[::-1])
    assert (chain.shape, chain.dtype, chain.chw) == (None, None, False)


def test_a_function_that_wants_random_numbers_gets_the_samples_own():
    chain = chain_of(lambda image, rng: image[rng.permutation(len(image))])
    first, again, other = (apply(chain, noise(), [u]) for u in (0.3, 0.3, 0.4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_our_steps_go_on_after_a_function_that_changes_size_and_type():
    def shrunk(image):
        return (image[:20, :30] / 255).astype(np.float32)

    chain = chain_of(shrunk, RandomResizedCrop(16), Normalize(0.5, 0.5), ToCHW())
    result = apply(chain, noise())
    assert result.shape == (3, 16, 16)
    assert result.dtype == np.float32
    assert np.abs(result).max() <= 1
    same = chain_of(lambda image: image[:20, :30], RandomResizedCrop(16), Normalize(), ToCHW())
    bytes_first = chain_of(RandomResizedCrop(16), Normalize(), ToCHW(), shape=(20, 30, 3))
    assert np.array_equal(
        apply(same, noise(), [0.1] * same.draws),
        apply(bytes_first, noise()[:20, :30], [0.1] * bytes_first.draws),
    )


def test_the_files_mean_is_not_taken_for_values_that_another_made():
    chain = chain_of(lambda image: image / 255, Normalize())
    with pytest.raises(OptionError, match="not known"):
        apply(chain, noise())


def test_what_gives_no_picture_is_named():
    with pytest.raises(OptionError, match="gave str"):
        apply(chain_of(lambda image: "x"), noise())
    with pytest.raises(OptionError, match="3 is no step"):
        chain_of(3)


def test_an_empty_picture_that_a_function_gives_is_refused():
    for cut in (lambda image: image[:0], lambda image: image[:, :0]):
        for steps in ([Resize((8, 8))], [RandomResizedCrop(8), ToFloat()], [ToFloat()]):
            with pytest.raises(OptionError, match="empty|0x50|40x0"):
                apply(chain_of(cut, *steps), noise())


@pytest.mark.parametrize("chw", [False, True])
def test_a_picture_that_lost_its_one_channel_is_still_resized(chw):
    first = [ToCHW()] if chw else []
    chain = Chain(
        [*first, lambda image: image.squeeze(), Resize((8, 8))],
        shape=(40, 50, 1),
        channels=1,
        dtype="u1",
    )
    assert apply(chain, noise()[..., :1]).shape == ((1, 8, 8) if chw else (8, 8, 1))


def test_a_mask_of_another_size_than_its_picture_is_refused(v2):
    for step in (v2.RandomCrop(16), Resize(8)):
        chain = chain_of(step)
        plan = chain.plan(40, 50, [0.5] * chain.draws)
        with pytest.raises(OptionError, match="as large as its picture"):
            chain.together(noise(), noise(50, 40)[..., 0], plan)


def test_torchvisions_transforms_get_a_picture_channels_first(v2):
    seen = []

    class Spy(v2.Transform):
        def transform(self, inpt, params):
            seen.append((type(inpt).__name__, tuple(inpt.shape)))
            return inpt

    chain = chain_of(Spy())
    assert chain.chw
    assert np.array_equal(apply(chain, noise()), np.moveaxis(noise(), 2, 0))
    assert seen == [("Image", (3, 40, 50))]


def test_torchvisions_chain_runs_after_ours_and_before_ours(v2):
    import torch

    after = chain_of(Resize((20, 20)), v2.ToDtype(torch.float32, scale=True))
    ours = chain_of(Resize((20, 20)), ToFloat(), ToCHW())
    assert np.array_equal(apply(after, noise()), apply(ours, noise()))
    before = chain_of(v2.RandomHorizontalFlip(1.0), Resize((20, 20)), ToFloat(), ToCHW())
    assert np.array_equal(apply(before, noise()), apply(ours, noise()[:, ::-1]))
    assert before.chw


def replayed(chain, count=12):
    """The same samples from one thread in order, and from four in any."""
    draws = np.random.default_rng(1).random((count, chain.draws)).tolist()
    jobs = [(noise(seed=i), u) for i, u in enumerate(draws)]
    alone = [apply(chain, image, u) for image, u in jobs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            together = list(pool.map(lambda job: apply(chain, *job), jobs))
            assert all(map(np.array_equal, alone, together))
    return alone


def test_torchvisions_random_numbers_are_the_samples_and_the_global_ones_are_left(v2):
    import torch

    before = torch.random.get_rng_state()
    results = replayed(
        chain_of(
            v2.RandomChoice([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]),
            v2.RandomResizedCrop(16),
            v2.ColorJitter(0.5, 0.5, 0.5, 0.2),
            v2.GaussianBlur(3),
        ),
        count=8,
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert len({result.tobytes() for result in results}) == len(results)


def test_torchvision_never_writes_into_the_picture_and_mask_that_it_is_given(v2):
    import torch

    class Black(torch.nn.Module):
        def forward(self, image, mask):
            return image.zero_(), mask.zero_()

    image, mask = noise()[..., :1], noise()[..., 1].copy()
    image.setflags(write=False)
    mask.setflags(write=False)  # torch warns of such memory
    chain = Chain([Black()], shape=(40, 50, 1), channels=1, dtype="u1")
    shown, moved = chain.together(image, mask, chain.plan(40, 50, [0.5]))
    assert not shown.any()
    assert not moved.any()
    assert image.any()
    assert mask.any()


def test_one_picture_has_many_torchvision_crops(v2):
    chain = chain_of(v2.RandomCrop(16))
    crops = {apply(chain, noise(), [u / 20]).tobytes() for u in range(20)}
    assert len(crops) > 15


def test_torchvision_moves_picture_and_mask_together(v2):
    chain = chain_of(v2.RandomHorizontalFlip(1.0), v2.RandomCrop(16))
    image = noise()
    plan = chain.plan(40, 50, [0.7] * chain.draws)
    for mask in (image[..., 0], image):
        shown, moved = chain.together(image, mask, plan)
        assert np.array_equal(
            np.moveaxis(shown, 0, 2)[..., : 1 if mask.ndim == 2 else 3].squeeze(), moved
        )


def test_albumentations_is_called_by_name_and_replays(albumentations):
    a = albumentations
    chain = chain_of(
        a.Compose([a.RandomCrop(16, 16), a.HorizontalFlip(p=0.5), a.GaussNoise(p=1.0)]),
        Normalize(),
        ToCHW(),
    )
    results = replayed(chain)
    assert results[0].shape == (3, 16, 16)
    assert len({result.tobytes() for result in results}) == len(results)


def test_albumentations_moves_picture_and_mask_together(albumentations):
    a = albumentations
    chain = chain_of(a.Compose([a.RandomCrop(16, 20), a.HorizontalFlip(p=1.0)]), ToCHW())
    image = noise()
    shown, mask = chain.together(image, image[..., 1], chain.plan(40, 50, [0.7] * chain.draws))
    assert np.array_equal(shown[1], mask)
    assert mask.shape == (16, 20)


def test_albumentations_gets_channels_last_wherever_it_stands(albumentations):
    a = albumentations
    flip = a.HorizontalFlip(p=1.0)
    chain = chain_of(ToCHW(), flip)
    shown, mask = chain.together(noise(), noise()[..., 1], chain.plan(40, 50, [0.5] * chain.draws))
    assert chain.chw
    assert np.array_equal(shown, np.moveaxis(noise()[:, ::-1], 2, 0))
    assert np.array_equal(mask, shown[1])


def test_a_transform_of_ones_own_that_derives_from_albumentations_is_one(albumentations):
    class Mine(albumentations.ImageOnlyTransform):
        def apply(self, img, **params):
            return 255 - img

    chain = chain_of(Mine(p=1.0))
    assert chain.moves_masks
    shown, mask = chain.together(noise(), noise()[..., 0], chain.plan(40, 50, [0.5]))
    assert np.array_equal(shown, 255 - noise())
    assert np.array_equal(mask, noise()[..., 0])


def test_a_module_of_ones_own_gets_a_tensor_channels_first(v2):
    import torch

    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(0.5))

        def forward(self, image):
            return image * self.scale + torch.rand(())

    chain = chain_of(Mine())
    assert chain.chw
    assert apply(chain, noise()).shape == (3, 40, 50)
    assert np.array_equal(apply(chain, noise(), [0.2]), apply(chain, noise(), [0.2]))


def test_a_layer_of_another_librarys_that_derives_from_torchs_module_is_not_torchs():
    torch = pytest.importorskip("torch")

    class Layer(torch.nn.Module):  # as Keras' are, with torch below
        def forward(self, image):
            return image[::-1]

    Layer.__module__ = "keras.src.layers.layer"
    chain = chain_of(Layer())
    assert not chain.chw
    assert np.array_equal(apply(chain, noise()), noise()[::-1])


def test_a_chain_says_which_strangers_move_masks(v2, albumentations):
    import torch
    from torchvision import transforms as v1

    class Alone(torch.nn.Module):
        def forward(self, image):
            return image

    class Both(torch.nn.Module):
        def forward(self, image, mask=None):
            return image if mask is None else (image, mask)

    holding = Both()
    holding.transforms = v2.Compose([Alone()])  # what it does with it is its own affair
    moves = [v2.RandomCrop(16), v2.Compose([v2.RandomCrop(16)]), v2.Compose([Both()]), holding]
    moves += [albumentations.HorizontalFlip(), albumentations.Compose([])]
    leave = [lambda image: image, v1.RandomCrop(16), v1.Compose([]), Alone(), v2.Compose([Alone()])]
    for step in moves:
        assert (chain_of(step).strange, chain_of(step).moves_masks) == (True, True), step
    for step in leave:
        chain = chain_of(Resize(30), step, v2.RandomCrop(16))
        assert (chain.strange, chain.moves_masks) == (True, False), step
        with pytest.raises(OptionError, match="takes a picture alone"):
            chain.together(noise(), noise()[..., 0], chain.plan(40, 50, [0.5] * chain.draws))


def test_a_bare_albumentations_transform_works_too(albumentations):
    result = apply(chain_of(albumentations.HorizontalFlip(p=1.0)), noise())
    assert np.array_equal(result, noise()[:, ::-1])


def test_masks_and_boxes_alone_do_not_follow_a_strangers_transform():
    chain = chain_of(lambda image: image)
    plan = chain.plan(40, 50, [0.5])
    with pytest.raises(OptionError, match="picture and mask together"):
        chain.mask(noise()[..., 0], plan)
    with pytest.raises(OptionError, match="boxes"):
        chain.boxes([[0, 0, 1, 1]], plan)
    with pytest.raises(OptionError, match="takes a picture alone"):
        chain.together(noise(), noise()[..., 0], plan)
