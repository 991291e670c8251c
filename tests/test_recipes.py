"""Recipes: what is not set comes from a table, what is set stays, what nothing reads is refused."""

import pytest

from smallset.config import OF_RECIPES, READ_WHERE, RunConfig, override
from smallset.errors import ConfigError
from smallset.learn.plan import stages_of
from smallset.learn.settle import settle
from smallset.recipes import RECIPES
from smallset.settings import flat


def settled(is_pretrained=False, **settings):
    config = settle(override(RunConfig(), settings), is_pretrained=is_pretrained)
    return flat(config.model_dump(mode="json")), config


@pytest.mark.parametrize(
    ("settings", "is_pretrained", "recipe"),
    [
        ({}, False, "quick"),
        ({"model": "squeezenet1_1"}, True, "head"),
        ({"model": "squeezenet1_1", "trains": "all"}, True, "finetune"),
        ({"recipe": "strong"}, False, "strong"),
        ({"recipe": "finetune", "model": "squeezenet1_1"}, True, "finetune"),
    ],
)
def test_the_recipe_goes_by_what_is_trained(settings, is_pretrained, recipe):
    values, config = settled(is_pretrained, **settings)
    assert config.recipe == recipe
    for name, value in RECIPES[recipe].items():
        assert values[name] == value
    others = flat(RunConfig().model_dump(mode="json"))
    governed = {*RECIPES[recipe], "recipe", "trains", "model", "image_size"}
    for name in set(others) - governed:
        if not name.startswith("compute."):
            assert values[name] == others[name]
    assert settle(config, is_pretrained=is_pretrained) == config
    stages_of(config)


def test_the_course_reports_settings_are_the_defaults_of_the_settings():
    values, _ = settled(recipe="course-report")
    assert (values["lr"], values["epochs"], values["image_size"]) == (0.01, 20, 112)
    assert (values["schedule.name"], values["schedule.milestones"]) == ("multistep", [15])
    assert (values["optim.momentum"], values["augment.flip"]) == (0, False)


def test_what_is_set_lies_on_top_of_the_recipe():
    values, _ = settled(False, lr=0.1, **{"optim.momentum": 0.0, "optim.nesterov": False})
    assert (values["lr"], values["optim.momentum"], values["epochs"]) == (0.1, 0, 36)
    # Even where it equals the default of the setting itself.
    assert settled(False, **{"augment.color": 0})[0]["augment.color"] == 0


def test_a_network_of_torchvision_keeps_its_own_size():
    assert settled(model="resnet18", weights="none")[0]["image_size"] == 224
    assert settled(model="efficientnet_b3", weights="none")[0]["image_size"] == 300
    assert settled(model="resnet18", image_size=64)[0]["image_size"] == 64


def test_what_a_setting_leaves_unread_falls_away():
    values, config = settled(loss="gce")
    assert values["loss_args.label_smoothing"] == 0
    stages_of(config)
    values, config = settled(loss="triplet-cosine")  # cross-entropy comes after it
    assert values["loss_args.label_smoothing"] == 0.1
    stages_of(config)
    assert settled(False, **{"optim.name": "adamw", "lr": 1e-3})[0]["optim.momentum"] == 0


@pytest.mark.parametrize(
    ("settings", "is_pretrained", "message"),
    [
        ({"optim.name": "adamw"}, False, "recipe 'quick' is for sgd.*give --lr too"),
        ({"schedule.milestones": [3]}, False, "milestones is read where schedule.name is multi"),
        ({"optim.nesterov": True, "recipe": "course-report"}, False, "needs a momentum above 0"),
        ({"batches.classes_per_batch": 4}, False, "is read where batches.kind is pk"),
        ({"model": "squeezenet1_1", "lr": 0.1}, True, "lr is not read.*head=sgd.*trains=all"),
        ({"model": "squeezenet1_1", "augment.flip": True}, True, "augment.flip is not read"),
        (
            {"model": "squeezenet1_1", "loss_args.label_smoothing": 0.1},
            True,
            "smoothing is not read",
        ),
        ({"loss": "gce", "loss_args.margin": 1}, False, "margin belongs to triplet-cosine"),
        ({"model": "squeezenet1_1", "loss": "gce"}, True, "loss is not read"),
        ({"model": "squeezenet1_1", "head": "sgd", "optim.layer_decay": 0.5}, True, "trains=all"),
        ({"loss": "gce", "balance": "logits"}, False, "the loss gce does not read it"),
        ({"loss": "own:loss", "balance": "weights"}, False, "the loss own:loss does not read it"),
        ({"model": "squeezenet1_1", "batches.balance": True}, True, "batches.balance is not read"),
        ({"model": "squeezenet1_1+alexnet", "trains": "all"}, True, "joined networks stay frozen"),
    ],
)
def test_what_nothing_would_read_is_refused(settings, is_pretrained, message):
    with pytest.raises(ConfigError, match=message):
        settled(is_pretrained, **settings)


UNSUITABLE = [
    (
        {"recipe": "finetune"},
        False,
        "plain would begin with random weights: give a pretrained --mo",
    ),
    ({"recipe": "head"}, False, r"or --recipe quick.*--set trains=classifier"),
    (
        {"recipe": "finetune", "model": "squeezenet1_1", "weights": "none"},
        False,
        r"squeezenet1_1 would begin with random weights.*--set trains=all",
    ),
    (
        {"recipe": "quick", "model": "squeezenet1_1"},
        True,
        "squeezenet1_1 comes with pretrained ones: --weights none trains it .*--recipe finetune",
    ),
    ({"recipe": "strong", "model": "squeezenet1_1"}, True, "the recipe 'strong' is for networks w"),
]


@pytest.mark.parametrize(("settings", "is_pretrained", "message"), UNSUITABLE)
def test_a_recipe_for_networks_of_the_other_kind_is_refused(settings, is_pretrained, message):
    with pytest.raises(ConfigError, match=message):
        settled(is_pretrained, **settings)
    with pytest.raises(ConfigError, match=message):
        settled(is_pretrained, **settings, trains="auto")
    for trains in ("all", "classifier"):  # who says what is trained knows
        assert settled(is_pretrained, **settings, trains=trains)[1].trains == trains


def test_a_run_that_starts_from_another_has_its_weights(tmp_path, monkeypatch):
    assert settled(recipe="finetune", start_from="planned")[1].trains == "all"
    begun = {"trains": "classifier", "recipe": "head", "image_size": 64}
    monkeypatch.setattr("smallset.learn.settle._begun", lambda config: begun)
    assert settled(recipe="finetune", start_from="run")[1].trains == "all"
    with pytest.raises(ConfigError, match="starts from run, where the classifier alone was trai"):
        settled(recipe="quick", start_from="run")


@pytest.mark.parametrize(
    ("settings", "is_pretrained"),
    [
        ({}, False),
        ({"loss": "triplet-cosine"}, False),  # cross-entropy comes after it
        ({"model": "squeezenet1_1"}, True),
        ({"model": "squeezenet1_1", "recipe": "finetune"}, True),
    ],
)
def test_probes_and_cross_entropy_read_the_balance(settings, is_pretrained):
    assert settled(is_pretrained, balance="logits", **settings)[0]["balance"] == "logits"


def test_the_head_can_be_fitted_by_steps():
    values, config = settled(True, model="squeezenet1_1", head="sgd", lr=0.1)
    assert (values["lr"], values["epochs"], config.trains) == (0.1, 20, "classifier")
    assert [stage.name for stage in stages_of(config)] == ["cross-entropy"]


def test_fine_tuning_begins_with_the_probe():
    _, config = settled(True, model="squeezenet1_1", trains="all")
    assert [(s.name, s.trains) for s in stages_of(config)] == [
        ("probe", "classifier"), ("cross-entropy", "all"),
    ]  # fmt: skip


def test_a_transformer_is_fine_tuned_in_smaller_steps():
    assert settled(True, model="vit_b_32", trains="all")[0]["lr"] == 3e-5
    assert settled(True, model="convnext_tiny", trains="all")[0]["lr"] == 3e-4
    assert settled(True, model="vit_b_32", trains="all", lr=1e-4)[0]["lr"] == 1e-4


def test_what_recipes_say_of_settings_that_others_depend_on_is_known():
    governed = {name for recipe in RECIPES.values() for name in recipe}
    assert {switch for switch, _ in READ_WHERE.values()} & governed == OF_RECIPES


def test_the_name_of_a_recipe_does_not_decide_the_numbers():
    _, named = settled(recipe="quick")
    _, auto = settled()
    assert named.digest() == auto.digest()
    assert settled(recipe="strong")[1].digest() != auto.digest()
