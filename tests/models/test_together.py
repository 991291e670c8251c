"""Networks joined by "+": each sees the picture at its own size and normalisation."""

import numpy as np
import pytest
import torch

from smallset.errors import ConfigError
from smallset.learn.run import train_run
from smallset.models.by_name import default_image_size
from smallset.models.registry import build_model, outline, resolve_weights
from smallset.models.restore import restore
from smallset.models.together import View

NAME = "squeezenet1_1+timm:mobilenetv3_small_050+shufflenet_v2_x0_5"


def test_the_features_are_those_of_each_network_side_by_side():
    joined = build_model(NAME, 4, image_size=224, weights="none", seed=3).eval()
    pictures = torch.rand(2, 3, 224, 224)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (joined.mean, joined.std))
    expected = []
    for name in NAME.split("+"):
        alone = build_model(name, 4, image_size=224, weights="none", seed=3).eval()
        own_mean, own_std = (torch.tensor(e).view(1, 3, 1, 1) for e in (alone.mean, alone.std))
        expected.append(alone((pictures - own_mean) / own_std).embeddings)
    with torch.no_grad():
        seen = joined((pictures - mean) / std)
    torch.testing.assert_close(seen.embeddings, torch.cat(expected, dim=1), atol=1e-4, rtol=1e-4)
    assert seen.logits.shape == (2, 4)


def test_each_network_sees_its_own_size_and_normalisation():
    name = "squeezenet1_1+efficientnet_lite1"
    assert default_image_size(name) == 240
    joined = build_model(name, 2, image_size=240, weights="none", seed=0).eval()
    small, large = joined.features.get_submodule("views").children()
    assert isinstance(small, View)
    assert isinstance(large, View)
    assert (small.size, large.size) == (224, 240)
    assert small.is_same
    assert not large.is_same
    seen = []
    small.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    large.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    grey = torch.full((1, 3, 240, 240), 0.5)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (joined.mean, joined.std))
    joined((grey - mean) / std)
    assert [tuple(each.shape[-2:]) for each in seen] == [(224, 224), (240, 240)]
    # EfficientNet-Lite normalises by 0.5 and 0.5, so middle grey is 0.
    torch.testing.assert_close(seen[1], torch.zeros(1, 3, 240, 240), atol=1e-6, rtol=0)


def test_a_run_of_joined_networks_leaves_an_ordinary_record(split_folders, tiny, tmp_path):
    settings = {"model": "squeezenet1_1+shufflenet_v2_x0_5", "weights": "none", "image_size": 64}
    settings |= {"recipe": "head", "trains": "classifier", "batches.size": 32, "epochs": 20}
    record = train_run(split_folders, tiny(**settings), tmp_path / "run")
    assert record.result["test_accuracy"] > 0.5  # random features of colours; chance is 0.25
    net, preprocessing, _ = restore(record)
    assert net.classifier.in_features == 512 + 1024
    assert preprocessing.size == 64
    assert np.isfinite(record.predictions.probs).all()


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("squeezenet1_1+squeezenet1_1", "none", "different networks"),
        ("squeezenet1_1+plain", "none", "only networks of torchvision and timm"),
        ("squeezenet1_1+", "none", "different networks"),
        ("squeezenet1_1+alexnet+vgg11", "a+b", "joins 3 networks.*are 2"),
        ("squeezenet1_1+nosuchnet", "none", "no model named 'nosuchnet'"),
        ("squeezenet1_1+alexnet", "none+FILE", "either all"),
    ],
)
def test_what_cannot_be_joined_is_named(name, weights, message, squeeze_file):
    with pytest.raises(ConfigError, match=message):
        resolve_weights(name, weights.replace("FILE", str(squeeze_file)))


def test_the_outline_of_joined_networks_has_no_weights():
    assert outline("squeezenet1_1+alexnet", 2, 224).classifier.weight.is_meta
