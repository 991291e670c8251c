import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from smallset.errors import ConfigError
from smallset.models.by_name import MODELS
from smallset.models.layers import layer_table
from smallset.models.pretrained import pretrained, torchvision_names
from smallset.models.registry import build_model, outline


def build(name, num_classes=5, size=64, seed=0):
    return build_model(name, num_classes, image_size=size, weights="none", seed=seed)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [32, 47, 112])
def test_every_model_gives_logits_and_embeddings_at_any_size(name, size):
    model = build(name, size=size).eval()
    logits, embeddings = model(torch.zeros(2, 3, size, size))
    assert logits.shape == (2, 5)
    assert embeddings.shape[0] == 2
    torch.testing.assert_close(
        model.classify(model.features(torch.zeros(2, 3, size, size)))[0], logits
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name):
    model = build(name)
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    model(images).logits.square().sum().backward()
    # A bias before BatchNorm gets a gradient of rounding errors; there it must merely exist.
    assert all(p.grad is not None for p in model.parameters())
    grads = [p.grad for n, p in model.named_parameters() if "weight" in n]
    assert all(grad is not None and grad.abs().max() > 0 for grad in grads)


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_decides_the_weights_and_torchs_own_stream_is_left_alone(name):
    before = torch.random.get_rng_state()
    first, again, other = (build(name, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def conv(c_in, c_out, k):
    return c_out * c_in * k * k


def test_parameter_counts_follow_the_formulas_of_the_report():
    """By hand: a convolution has Cout*Cin*K*K, BatchNorm 2*Cout, Linear In*Out + Out."""
    widths = [3, 32, 64, 128, 256]
    features = sum(conv(a, b, 3) + 2 * b for a, b in itertools.pairwise(widths))
    head = 12_544 * 256 + 256 + 2 * 256 + 256 * 35 + 35
    assert count(build("plain", 35, 112)) == features + head == 3_609_923

    stem = conv(3, 32, 3) + 2 * 32
    first = 2 * (conv(32, 32, 3) + 2 * 32)
    rest = sum(
        conv(a, b, 3) + conv(b, b, 3) + 4 * b + conv(a, b, 1) + 2 * b
        for a, b in ((32, 64), (64, 128), (128, 256))
    )
    head = 256 * 128 + 128 + 2 * 128 + 128 * 35 + 35
    assert count(build("residual", 35, 112)) == stem + first + rest + head

    blocks = sum(
        conv(a, w, 1) + 2 * w + conv(w, w, 3) + 2 * w + conv(w, 4 * w, 1) + 8 * w
        + conv(a, 4 * w, 1) + 8 * w
        for a, w in ((32, 32), (128, 64), (256, 128), (512, 256))
    )  # fmt: skip
    head = 1024 * 128 + 128 + 2 * 128 + 128 * 35 + 35
    assert count(build("bottleneck", 35, 112)) == stem + blocks + head


@pytest.mark.parametrize(
    ("name", "features", "classifier", "embedding_dim"),
    [
        ("resnet18", 11_176_512, 512 * 35 + 35, 512),
        (
            "vgg16", 14_714_688,
            25_088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 35 + 35, 25_088,
        ),
    ],
)  # fmt: skip
def test_the_reports_pretrained_networks_have_their_published_sizes(
    name, features, classifier, embedding_dim
):
    model = outline(name, 35, 224)
    images = torch.zeros(2, 3, 224, 224, device="meta")
    assert model(images).embeddings.shape == (2, embedding_dim)
    assert (count(model.features), count(model.classifier)) == (features, classifier)


ONE_OF_EACH_FAMILY = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18",
    "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_v2_t", "swin_t", "vgg11_bn",
    "vit_b_16", "wide_resnet50_2",
]  # fmt: skip


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
def test_every_family_of_torchvision_gets_a_new_last_layer(name):
    size = 299 if name == "inception_v3" else 224
    model = outline(name, 7, size).eval()
    logits, embeddings = model(
        torch.zeros(2, 3, size, size, device=next(model.parameters()).device)
    )
    assert logits.shape == (2, 7)
    assert embeddings.ndim == 2
    assert len(model.mean) == len(model.std) == 3


def test_the_families_above_are_all_there_are():
    families = {"".join(c for c in n.split("_")[0] if c.isalpha()) for n in torchvision_names()}
    covered = {"".join(c for c in n.split("_")[0] if c.isalpha()) for n in ONE_OF_EACH_FAMILY}
    # Names such as vgg11 and vgg16 differ in digits only.
    assert families - covered <= {"resnextxd"}


def test_the_last_layer_alone_is_new():
    torch.manual_seed(0)
    from torchvision.models import resnet18

    original = resnet18().eval()
    from smallset.models.weights import WeightFile

    model = pretrained(
        "resnet18", 3, weights=WeightFile(Path("r.pth"), "", original.state_dict())
    ).eval()
    setattr(original, "fc", nn.Identity())  # noqa: B010  declared as a Linear layer
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(images).embeddings, original(images))


def test_timm_networks_split_into_features_and_classifier():
    pytest.importorskip("timm")
    model = build("timm:test_resnet", 5, 64).eval()
    logits, embeddings = model(torch.zeros(2, 3, 64, 64))
    assert logits.shape == (2, 5)
    assert embeddings.shape[1] == model.classifier.in_features


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plian", "did you mean 'plain'"),
        ("resnet19", "did you mean 'resnet1"),
        ("timm:test_resnett", "timm has no network"),
        ("no_such_module:net", "cannot import"),
        ("own/net.py:build", r"without its folder and .py, as net:build, and lies beside"),
        ("math:floor", "floor|Classifier"),
    ],
)
def test_an_unknown_model_is_named(name, message):
    with pytest.raises((ConfigError, TypeError), match=message):
        build(name)


def test_a_users_own_function_is_a_model():
    model = build("smallset.models.plain:plain", 5, 32)
    assert model(torch.zeros(2, 3, 32, 32)).logits.shape == (2, 5)


@pytest.mark.parametrize("name", [*MODELS, "resnet18", "vit_b_16"])
def test_the_table_of_layers_adds_up(name):
    size = 224
    model = outline(name, 35, size)
    layers = layer_table(model, size)
    outside = sum(p.numel() for n, p in model.named_parameters() if "token" in n or "pos_emb" in n)
    assert sum(layer.num_parameters for layer in layers) + outside == count(model)
    assert layers[-1].output_shape == (35,)


def test_the_table_shows_the_shapes_a_convolution_gives():
    """floor((W - K + 2P)/S) + 1 columns."""
    shapes = {layer.name: layer.output_shape for layer in layer_table(build("plain", 35, 112), 112)}
    assert shapes["features.0"] == (32, (112 - 3 + 2) // 1 + 1, 112)
    assert shapes["features.16"] == (12_544,)
