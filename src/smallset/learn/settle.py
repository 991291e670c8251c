"""The settings of a run with none left open: what is trained, its recipe, its size, its device."""

from typing import Any

from smallset.compute import resolve
from smallset.config import RunConfig
from smallset.errors import ConfigError
from smallset.files import given_path
from smallset.learn.objectives import balances, numbers_read, refuse_unread
from smallset.models.blocks import has_attention
from smallset.models.by_name import default_image_size, is_own
from smallset.models.registry import outline
from smallset.recipes import OF_WEIGHTS, RECIPES, is_of_steps, resolve_recipe, suits
from smallset.record.record import Record
from smallset.settings import flat

RECIPE_OF = {
    ("all", False): "quick",
    ("all", True): "finetune",
    ("classifier", False): "head",
    ("classifier", True): "head",
}
"""The recipe where none is named: by what is trained, and whether the network is pretrained."""
TRANSFORMER_RATE = 3e-5
"""Peak rate of fine-tuning a transformer, a tenth of that of a convolutional network."""
OF_FEATURES = ("optim.layer_decay", "optim.frozen_share", "optim.batch_norm")


def settle(config: RunConfig, *, is_pretrained: bool) -> RunConfig:
    """Return the settings of a run with none left open; settled ones stay as they are.

    Args:
        is_pretrained: Whether its network comes with weights that other images gave it.

    Raises:
        ConfigError: If settings do not go together, or one was set that nothing reads.
    """
    given = set(flat(config.model_dump(mode="json", exclude_unset=True)))
    begun = _begun(config)
    recipe, trains = _kind(config, begun, is_pretrained=is_pretrained)
    if config.trains == "auto":
        has_weights = is_pretrained or bool(config.start_from)
        _refuse_unsuitable(config, trains, has_weights=has_weights)
    if "+" in config.model and trains != "classifier":
        raise ConfigError(f"{config.model}: joined networks stay frozen; fine-tune one of them")
    config = config.model_copy(update={"trains": trains})
    if config.image_size is None:
        size = begun["image_size"] if begun else RECIPES[recipe].get("image_size")
        if not size or not (begun or is_own(config.model)):
            size = default_image_size(config.model)
        config = config.model_copy(update={"image_size": size})
    if recipe == "finetune" and "lr" not in given and _is_transformer(config):
        config = config.model_copy(update={"lr": TRANSFORMER_RATE})
    config = resolve_recipe(config, recipe, reads=reads)
    values = flat(config.model_dump(mode="json"))
    default = flat(RunConfig().model_dump(mode="json"))
    for name in sorted(given):
        if values[name] != default[name] and not reads(config, name):
            if not _is_probe(config):
                refuse_unread(config.loss, config.loss_args, numbers_read(config.loss))
            raise ConfigError(_unread(name, config))
    return config.model_copy(update={"compute": resolve(config.compute)})


def reads(config: RunConfig, name: str) -> bool:
    """Whether a run reads a setting, beyond what `READ_WHERE` says.

    Args:
        config: With `trains` resolved.
        name: Dotted.
    """
    if _is_probe(config) and is_of_steps(name):
        return name == "loss" and config.loss == "cross-entropy"
    if name == "balance":
        return _is_probe(config) or balances(config.loss)
    if name.startswith("loss_args."):
        return name.partition(".")[2] in numbers_read(config.loss)
    return not (config.trains == "classifier" and name in OF_FEATURES)


def _kind(
    config: RunConfig, begun: dict[str, Any] | None, *, is_pretrained: bool
) -> tuple[str, str]:
    """Return the recipe of a run, and what it trains."""
    trains = config.trains
    if trains == "auto" and config.recipe != "auto":
        trains = RECIPES[config.recipe].get("trains", "auto")
    if trains == "auto":
        trains = begun["trains"] if begun else "classifier" if is_pretrained else "all"
    if config.recipe != "auto":
        return config.recipe, trains
    if begun is None:
        return RECIPE_OF[trains, is_pretrained], trains
    old = begun.get("recipe", "course-report")
    return old if begun["trains"] == trains else RECIPE_OF[trains, True], trains


def _refuse_unsuitable(config: RunConfig, trains: str, *, has_weights: bool) -> None:
    """Refuse a recipe that was named for a network of the other kind."""
    recipe = config.recipe
    if suits(recipe, trains, has_weights=has_weights):
        return
    if recipe in OF_WEIGHTS:
        raise ConfigError(
            f"the recipe {recipe!r} is for pretrained networks, and {config.model} would begin "
            "with random weights: give a pretrained --model (`smallset models` lists them), or "
            f"--recipe quick, which trains from scratch (if it is meant: --set trains="
            f"{RECIPES[recipe]['trains']})"
        )
    what = "comes with pretrained ones: --weights none trains it from scratch"
    if config.start_from:
        what = f"starts from {config.start_from}, where the classifier alone was trained"
    raise ConfigError(
        f"the recipe {recipe!r} is for networks with random weights, and {config.model} {what}; "
        "--recipe head or --recipe finetune uses what it has learnt (if it is meant: --set "
        "trains=all or trains=classifier)"
    )


def _begun(config: RunConfig) -> dict[str, Any] | None:
    """Return the settings of the run that this one starts from."""
    if not config.start_from:
        return None
    record = Record(given_path(config.start_from))
    return record.config["config"] if record.is_complete else None


def _is_probe(config: RunConfig) -> bool:
    """Whether a run fits a probe, and nothing by steps."""
    return config.trains == "classifier" and config.head == "probe"


def _is_transformer(config: RunConfig) -> bool:
    assert config.image_size is not None
    return has_attention(outline(config.model, 2, config.image_size).features)


def _unread(name: str, config: RunConfig) -> str:
    if name == "balance":
        return (
            f"balance is read by cross-entropy and by probes; the loss {config.loss} does not read "
            "it (--set batches.balance=true draws every class equally often, with any loss)"
        )
    if name in OF_FEATURES:
        return f"{name} is read where the feature part is trained; add --set trains=all"
    return (
        f"{name} is not read: the head of a frozen network is a probe, which is fitted to "
        "convergence; fit it by steps with --set head=sgd, or fine-tune with --set trains=all"
    )
