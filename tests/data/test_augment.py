import numpy as np
import pytest
import torch

from smallset.data.augment import Augmenter
from smallset.groups import AugmentConfig

MEAN = (0.5, 0.5, 0.5)


def augmenter(epoch=0, **settings):
    return Augmenter(AugmentConfig(**settings), seed=0, stage=0, epoch=epoch, mean=MEAN)


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (64, 20, 20, 3), dtype=np.uint8))


def test_a_flip_mirrors_about_half_of_the_images(pixels):
    moved = augmenter(flip=True).move(pixels)
    same = (moved == pixels).flatten(1).all(1)
    mirrored = (moved == pixels.flip(2)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 20 <= mirrored.sum() <= 44  # 32 expected, three standard deviations are 12


def test_a_crop_shows_the_mirrored_edge_image_from_a_shifted_corner(pixels):
    moved = augmenter(crop_fraction=0.2).move(pixels)
    padded = np.pad(pixels.numpy(), ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    corners = set()
    for number, image in enumerate(moved.numpy()):
        found = [
            (y, x)
            for y in range(9)
            for x in range(9)
            if (padded[number, y : y + 20, x : x + 20] == image).all()
        ]
        assert len(found) == 1
        corners.add(found[0])
    assert len(corners) > 30


def test_a_rotation_of_a_disc_changes_nothing_and_of_a_bar_does():
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")
    disc = ((x**2 + y**2) / 2).clamp(0, 255).expand(4, 3, 41, 41).clone()
    bar = (100.0 * (x.abs() < 4)).expand(4, 3, 41, 41).clone()
    inside = (x**2 + y**2 < 18**2).expand(4, 3, 41, 41)
    turned = augmenter(rotation_degrees=90).change(disc)
    torch.testing.assert_close(turned[inside], disc[inside], atol=1.0, rtol=0)
    assert (augmenter(rotation_degrees=90).change(bar) - bar).abs().max() > 50


def test_colour_stays_in_range_and_off_means_off(pixels):
    images = pixels.permute(0, 3, 1, 2).float()
    changed = augmenter(color=0.5).change(images)
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert not torch.equal(changed, images)
    assert torch.equal(augmenter().change(images), images)
    assert torch.equal(augmenter().move(pixels), pixels)


def test_erasing_paints_one_rectangle_in_the_mean_colour(pixels):
    images = pixels.permute(0, 3, 1, 2).float() / 2  # below 127.5, the mean colour
    changed = augmenter(erasing=1.0).change(images.clone())
    for image in changed:
        rows, columns = torch.where((image == 127.5).all(dim=0))
        height, width = (int(at.max() - at.min()) + 1 for at in (rows, columns))
        assert len(rows) == height * width
        assert 0.01 <= height * width / 400 <= 0.36
    untouched = augmenter(erasing=0.5).change(images.clone())
    erased = (untouched != images).flatten(1).any(1).sum()
    assert 20 <= erased <= 44


def test_each_kind_has_a_stream_of_its_own(pixels):
    """Switching the flip on must not change how far the crop shifts."""
    alone = augmenter(crop_fraction=0.2).move(pixels)
    both = augmenter(crop_fraction=0.2, flip=True).move(pixels)
    unflipped = torch.where(
        (both == alone).flatten(1).all(1)[:, None, None, None], both, both.flip(2)
    )
    assert torch.equal(unflipped, alone)


def test_an_epoch_draws_the_same_again_and_another_epoch_others(pixels):
    first, again, other = (augmenter(epoch, crop_fraction=0.2).move(pixels) for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_cut_shows_a_rectangle_of_the_image_at_full_size():
    size, count = 40, 200
    ramp = (torch.arange(size) + 0.5) * 6
    images = torch.stack(
        [
            ramp[None, :].expand(size, size),
            ramp[:, None].expand(size, size),
            torch.zeros(size, size),
        ]
    )
    config = AugmentConfig(smallest_crop=0.35)
    augment = Augmenter(config, seed=0, stage=0, epoch=0, mean=(0.5, 0.5, 0.5))
    seen = augment.change(images.expand(count, 3, size, size).clone()) / (6 * size)
    # On a ramp the slope is the side of what was cut out, and the middle is where it was.
    inner = slice(4, size - 4)
    width = (seen[:, 0, 20, inner].diff(dim=1) * size).median(dim=1).values.numpy()
    height = (seen[:, 1, inner, 20].diff(dim=1) * size).median(dim=1).values.numpy()
    area, ratio = width * height, width / height
    assert 0.3 < area.min() < 0.4
    assert 0.9 < area.max() < 1.01
    assert 0.74 < ratio.min() < 0.85
    assert 1.2 < ratio.max() < 1.34
    middle = seen[:, 0, 20, 19:21].mean(dim=1).numpy()
    assert (middle - width / 2 > -0.01).all()
    assert (middle + width / 2 < 1.01).all()
    assert middle.std() > 0.05
