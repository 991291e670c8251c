"""The blocks of networks, which rates fall along and of which the first stay frozen."""

import pytest

from smallset.groups import OptimConfig
from smallset.learn.optim import num_frozen, parameter_groups, still_modules
from smallset.models.blocks import MOST, blocks_of, has_attention, own_parameters
from smallset.models.by_name import default_image_size
from smallset.models.registry import outline

NETS = {
    "resnet18": 10, "mobilenet_v2": 19, "squeezenet1_1": 9, "efficientnet_lite0": 20,
    "vit_b_16": 14, "timm:vit_tiny_patch16_224": 14, "convnext_tiny": 20, "timm:convnext_atto": 10,
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_the_blocks_hold_every_parameter_once_and_in_order(name):
    model = outline(name, 3, default_image_size(name))
    blocks = blocks_of(model.features)
    assert len(blocks) == NETS[name] <= MOST
    held = [p for block in blocks for p in block.parameters()]
    own = own_parameters(model.features, blocks)
    every = list(model.features.parameters())
    assert len({id(p) for p in held}) == len(held) == len(every) - len(own)
    place = {id(p): n for n, p in enumerate(every)}
    order = [place[id(p)] for p in held]
    assert order == sorted(order)
    assert bool(own) == has_attention(model.features) == ("vit" in name)


def test_rates_fall_from_block_to_block_and_the_first_ones_stay():
    model = outline("vit_b_16", 3, 224)
    config = OptimConfig(name="adamw", layer_decay=0.5, weight_decay=0.1)
    groups = parameter_groups(model, model, config, 1.0)
    blocks = blocks_of(model.features)
    assert [group["lr"] for group in groups] == [*(0.5**n for n in range(14, -1, -1)), 1.0]
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    frozen = OptimConfig(name="adamw", layer_decay=0.5, frozen_share=0.4)
    groups = parameter_groups(model, model, frozen, 1.0)
    assert num_frozen(blocks, frozen) == 5
    assert [group["lr"] for group in groups] == [*(0.5**n for n in range(8, -1, -1)), 1.0]
    trained = {id(p) for group in groups for p in group["params"]}
    assert not trained & {id(p) for block in blocks[:5] for p in block.parameters()}
    still = [id(p) for block in still_modules(model, frozen) for p in block.parameters()]
    assert still == [id(p) for block in blocks[:5] for p in block.parameters()]
    [alone] = parameter_groups(model, model.classifier, frozen, 1.0)
    assert alone["lr"] == 1.0


def test_batch_norm_stays_still_where_it_is_to():
    model = outline("resnet18", 3, 224)
    assert still_modules(model, OptimConfig()) == []
    assert len(still_modules(model, OptimConfig(batch_norm="eval"))) == 20
