import numpy as np
import torch
from torch import nn

from smallset.data.augment import Augmenter
from smallset.data.preprocessing import Preprocessing
from smallset.groups import AugmentConfig
from smallset.learn.explain import augmented, grad_cam
from smallset.models.parts import Classifier

WEIGHTS = torch.tensor([[1.0, -2.0, 0.5], [0.25, 1.0, -1.0]])


class Mean(nn.Module):
    def forward(self, maps):
        return maps.mean(dim=(2, 3))


def toy():
    """Feature maps are the average-pooled colours, the logits a product of their means."""
    head = nn.Linear(3, 2, bias=False)
    head.weight.data = WEIGHTS.clone()
    pool = nn.Sequential(nn.AvgPool2d(2), Mean())
    return Classifier(pool, head).eval()


HALF = Preprocessing(size=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def looks_of(*arguments):
    looks = grad_cam(arguments[0], HALF, *arguments[1:])
    assert looks is not None
    return looks


def images(count=3, size=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_grad_cam_is_the_formula_of_the_paper():
    shown, classes = images(), np.array([0, 1, 1])
    looks = looks_of(toy(), shown, classes)
    assert looks.side == 4
    for n, k in enumerate(classes):
        pixels = (torch.from_numpy(shown[n]).permute(2, 0, 1).double() / 255 - 0.5) / 0.25
        maps = pixels.reshape(3, 4, 2, 4, 2).mean(dim=(2, 4))
        # Each place weighs 1/16 in its mean, and so does the slope; the alphas are their means.
        alphas = WEIGHTS[k].double() / 16
        expected = (alphas[:, None, None] * maps).sum(dim=0).relu()
        expected = expected / expected.max()
        large = nn.functional.interpolate(
            expected[None, None], size=(8, 8), mode="bilinear", align_corners=False
        )
        np.testing.assert_allclose(looks.maps[n], large[0, 0].numpy(), atol=1e-5)


def test_what_speaks_against_a_class_is_cut_off():
    looks = looks_of(toy(), images(), np.array([0, 0, 0]))
    assert looks.maps.min() >= 0
    assert looks.maps.max() <= 1


def test_a_network_without_feature_maps_has_no_grad_cam():
    flat = Classifier(nn.Flatten(), nn.Linear(192, 2)).eval()
    assert grad_cam(flat, HALF, images(), np.array([0, 1, 0])) is None


def test_in_place_layers_do_not_hide_the_maps():
    net = Classifier(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), Mean()), nn.Linear(4, 2)
    ).eval()
    assert looks_of(net, images(), np.array([0, 1, 0])).side == 8


def test_the_views_are_what_training_saw():
    config = AugmentConfig(flip=True, crop_fraction=0.2, rotation_degrees=20, color=0.3)
    shown = images(4)
    views = augmented(shown, config, seed=5, mean=(0.5, 0.5, 0.5), views=3)
    assert views.shape == (3, 4, 8, 8, 3)
    augmenter = Augmenter(config, seed=5, stage=0, epoch=1, mean=(0.5, 0.5, 0.5))
    moved = augmenter.move(torch.from_numpy(shown)).permute(0, 3, 1, 2).float()
    expected = augmenter.change(moved.contiguous()).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(views[1], expected, atol=0.51)
    assert not np.array_equal(views[0], views[1])


class ChangedInPlace(nn.Module):
    """As torchvision's densenet ends: its last maps are changed after the module that gave them."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.relu = nn.ReLU()

    def forward(self, x):
        maps = torch.relu_(self.last(self.relu(self.relu(self.first(x)))))
        return maps.mean(dim=(2, 3))


def test_maps_changed_after_the_module_that_gave_them_are_explained_as_they_then_are():
    torch.manual_seed(0)
    inner, head, shown = ChangedInPlace(), nn.Linear(4, 2), images()
    net = Classifier(inner, head).eval()
    looks = looks_of(net, shown, np.array([0, 1, 0]))
    pixels = (torch.from_numpy(shown).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    maps = inner.last(inner.first(pixels).relu()).relu()
    alphas = head.weight[torch.tensor([0, 1, 0])] / 64
    expected = (alphas[:, :, None, None] * maps).sum(dim=1).relu().detach()
    expected /= expected.amax(dim=(1, 2)).clamp(min=1e-12)[:, None, None]
    np.testing.assert_allclose(looks.maps, expected.numpy(), atol=1e-5)


def test_no_graph_is_kept_of_what_comes_before_the_maps():
    hung, before = [], nn.Conv2d(3, 3, 1)
    before.register_forward_hook(lambda _m, _i, out: hung.append(out.requires_grad))
    pooled = nn.Sequential(before, nn.AvgPool2d(2), Mean())
    net = Classifier(pooled, nn.Linear(3, 2)).eval()
    looks_of(net, images(), np.array([0, 1, 0]))
    assert hung
    assert not any(hung)
