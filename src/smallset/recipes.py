"""Recipes: settings that belong together, by name; what a user sets lies on top of them."""

from collections.abc import Callable, Mapping
from typing import Any

from smallset.config import READ_WHERE, RunConfig, build_config
from smallset.errors import ConfigError
from smallset.settings import flat, nested

_QUICK: dict[str, Any] = {
    "image_size": 64,
    "mirror": True,
    "epochs": 36,
    "lr": 0.03,
    "optim.momentum": 0.9,
    "optim.nesterov": True,
    "optim.weight_decay": 0.003,
    "schedule.name": "cosine",
    "schedule.warmup_epochs": 1.0,
    "augment.flip": True,
    "augment.crop_fraction": 0.125,
    "augment.color": 0.3,
    "loss_args.label_smoothing": 0.1,
}

RECIPES: dict[str, dict[str, Any]] = {
    "quick": _QUICK,
    "strong": {
        **_QUICK,
        "image_size": 96,
        "epochs": 80,
        "augment.erasing": 0.25,
    },
    "head": {"trains": "classifier", "head": "probe", "data.resize": "zoom"},
    "finetune": {
        "trains": "all",
        "head": "probe",
        "penalty": 0.03,  # a sharper head would first have to unlearn that it is sure
        "data.resize": "zoom",
        "epochs": 5,
        "lr": 3e-4,
        "optim.name": "adamw",
        "optim.weight_decay": 0.05,
        "optim.layer_decay": 0.85,
        "optim.frozen_share": 0.4,
        "optim.batch_norm": "eval",
        "schedule.name": "cosine",
        "schedule.warmup_epochs": 0.5,
        "augment.flip": True,
        "augment.smallest_crop": 0.35,
        "loss_args.label_smoothing": 0.1,
    },
    "course-report": {},
}
"""From scratch in minutes; from scratch with more time; a head on a frozen pretrained network; the
whole of one; and the settings of the course report, which are the defaults of the settings
themselves. What a recipe does not name is at its default. docs/results.md says what they reach."""
OF_WEIGHTS, OF_NONE = ("head", "finetune"), ("quick", "strong")
"""Recipes for networks that come with weights, and for those that begin with random ones."""
OF_STEPS = (
    "loss", "teacher", "epochs", "lr", "keep", "loss_args", "optim", "schedule", "augment",
    "batches",
)  # fmt: skip


def suits(recipe: str, trains: str, *, has_weights: bool) -> bool:
    """Whether a recipe is made for such a run; else the run itself has to say what it trains.

    Args:
        has_weights: Whether the network begins with weights that were trained.
    """
    if recipe in OF_WEIGHTS:
        return has_weights
    return not (recipe in OF_NONE and trains == "classifier")


def is_of_steps(name: str) -> bool:
    """Whether weights that move by steps read a setting, and a probe does not.

    Args:
        name: Dotted.
    """
    return name.partition(".")[0] in OF_STEPS


def steps_at_default() -> dict[str, Any]:
    """Return what `is_of_steps`, at its default: what is to be unset where a probe comes next."""
    default = flat(RunConfig().model_dump(mode="json"))
    return {name: value for name, value in default.items() if is_of_steps(name)}


def resolve_recipe(
    config: RunConfig, name: str, *, reads: Callable[[RunConfig, str], bool]
) -> RunConfig:
    """Lay a recipe beneath what a user set.

    Args:
        config: Settings; only those that were set explicitly count.
        name: A key of `RECIPES`.
        reads: Whether a run with some settings reads a setting, beyond what `READ_WHERE` says.

    Returns:
        Every setting, none of them open: resolving it again changes nothing.

    Raises:
        ConfigError: If what was set does not go with the recipe.
    """
    given = flat(config.model_dump(mode="json", exclude_unset=True))
    _refuse_foreign_rate(name, given)
    default = flat(RunConfig().model_dump(mode="json"))
    laid = {**default, **RECIPES[name], **given, "recipe": name}
    for setting, (switch, value) in READ_WHERE.items():
        if setting not in given and laid[switch] != value:
            laid[setting] = default[setting]
    mixed = build_config(nested(laid))
    unread = [each for each in RECIPES[name] if each not in given and not reads(mixed, each)]
    return build_config(nested({**laid, **{each: default[each] for each in unread}}))


def _refuse_foreign_rate(name: str, given: Mapping[str, Any]) -> None:
    """A rate belongs to its optimizer: AdamW's are a hundredth of SGD's."""
    own = RECIPES[name].get("optim.name", RunConfig().optim.name)
    wanted = given.get("optim.name", own)
    if wanted != own and "lr" not in given and name != "course-report":
        raise ConfigError(
            f"the learning rate of the recipe {name!r} is for {own}; with --set optim.name={wanted}"
            " give --lr too"
        )
