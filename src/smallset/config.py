"""Settings of one run: frozen, serialisable, with the unit of every field."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, ValidationError, model_validator

from smallset.errors import ConfigError
from smallset.groups import (
    AugmentConfig,
    Balance,
    BatchConfig,
    ComputeConfig,
    DataConfig,
    FigureConfig,
    LossConfig,
    OptimConfig,
    ScheduleConfig,
)
from smallset.settings import (
    SHORT,
    Settings,
    explain,
    flat,
    nested,
    parse_value,
    read_toml,
    unknown_setting,
)

Recipe = Literal["auto", "quick", "strong", "head", "finetune", "course-report"]


class RunConfig(Settings):
    """Everything that decides the numbers of one run; two equal configs give equal numbers.

    A setting that was not set explicitly is open until the run is planned: its recipe says it.
    """

    recipe: Recipe = "auto"
    """Values of the settings that are not set, as `smallset.recipes.RECIPES` has them: "quick" or
    "strong" from scratch, "head" on a frozen pretrained network, "finetune" for all of one,
    "course-report"; auto: quick, head or finetune, by what is trained."""
    model: str = "plain"
    """A name `smallset models` lists, "timm:NAME", or "their.module:function"."""
    weights: str = "auto"
    """auto: ImageNet weights for torchvision and timm models; none: random; or a weight file."""
    trains: Literal["auto", "all", "classifier"] = "auto"
    """auto: the classifier only where weights were loaded, everything otherwise."""
    start_from: str = ""
    """Record of a finished run of the same model and classes whose weights this one starts from;
    empty for none. Its content is part of what decides the numbers, its place is not."""
    teacher: str = ""
    """Record of a run whose answers this one learns beside the labels, half and half; empty for
    none. Only answers out of fold teach: heads of frozen networks have them, and what was trained
    with folds. Their content is part of what decides the numbers, their place is not."""
    head: Literal["sgd", "probe"] = "sgd"
    """How the last layer of a frozen network is fitted: by steps like everything else, or as a
    probe: logistic regression to convergence, its penalty by cross-validation."""
    penalty: float | None = Field(default=None, gt=0)
    """Of the squared weights of a probe on standardised features; none: by cross-validation."""
    balance: Balance = "none"
    """What makes classes of uneven sizes count the same in a probe or in cross-entropy: weights of
    images, or logits less the logarithm of a class's share; none: large ones count more."""
    mirror: bool = False
    """Score the average of a picture and its mirror image, wherever the model is used."""
    image_size: int | None = Field(default=None, ge=32, le=2048)
    """Side of the square image in px; none: the recipe's, else 112 for our own models, and for
    pretrained ones what they were trained with."""
    loss: str = "cross-entropy"
    """A name in `smallset.learn.objectives.LOSSES`, or "their.module:function"."""
    epochs: int = Field(default=20, ge=1)
    """Passes over the training images, in each stage."""
    keep: Literal["last", "best-val"] = "last"
    """Which epoch's weights stay: the last one's, or those with the best accuracy on val (the
    first of equals; early stopping, in effect). Of several stages it is the last one's choice."""
    lr: float = Field(default=0.01, gt=0)
    """Peak learning rate."""
    seed: int = Field(default=0, ge=0)
    """Seeds weights, batch order, dropout and augmentation, as separate streams."""
    data: DataConfig = DataConfig()
    """Which images."""
    loss_args: LossConfig = LossConfig()
    """Numbers inside the loss."""
    optim: OptimConfig = OptimConfig()
    """Optimizer."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Learning rate over time."""
    augment: AugmentConfig = AugmentConfig()
    """Random changes of training images."""
    batches: BatchConfig = BatchConfig()
    """Grouping of training images."""
    compute: ComputeConfig = ComputeConfig()
    """Device and arithmetic."""
    figures: FigureConfig = FigureConfig()
    """Pictures of the record."""

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        if self.start_from and self.weights not in ("auto", "none"):
            raise ValueError("weights is not read where start_from brings them")
        if self.data.folds and self.start_from:
            raise ValueError("start_from does not go with folds: its weights may know every image")
        if self.data.folds and self.teacher:
            raise ValueError("teacher does not go with folds: its answers know labels of each fold")
        if self.data.folds and self.keep != "last":
            raise ValueError("keep = best-val does not go with folds: there is no val to choose by")
        if self.balance != "none" and self.batches.balance:
            raise ValueError("balance and batches.balance do the same twice; set one of them")
        values = flat(self.model_dump(mode="json"))
        # What is open, a recipe may still say; then this is looked at again.
        given = flat(self.model_dump(mode="json", exclude_unset=True))
        for name, (switch, value) in READ_WHERE.items():
            if name not in given or (switch in OF_RECIPES and switch not in given):
                continue
            if values[switch] != value and values[name] != _default(name):
                raise ValueError(
                    f"{name} is read where {switch} is {value}, got {switch} = {values[switch]}"
                )
        return self

    def digest(self) -> str:
        """Twelve hex digits that name what decides the numbers.

        Figures do not, nor do the places of weights and of a teacher: their content does, and is
        hashed apart. Nor does the name of a recipe, but the settings that came of it.
        """
        exclude = {"figures", "start_from", "teacher", "recipe"}
        content = self.model_dump(mode="json", exclude=exclude)
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


OF_RECIPES = frozenset({"schedule.name", "optim.name", "head"})
"""Those of the settings that others depend on which some recipe says."""

READ_WHERE: dict[str, tuple[str, Any]] = {
    "penalty": ("head", "probe"),
    "schedule.milestones": ("schedule.name", "multistep"),
    "schedule.gamma": ("schedule.name", "multistep"),
    "batches.size": ("batches.kind", "random"),
    "batches.balance": ("batches.kind", "random"),
    "balance": ("batches.kind", "random"),  # pk batches hold every class equally often
    "batches.classes_per_batch": ("batches.kind", "pk"),
    "batches.images_per_class": ("batches.kind", "pk"),
    "optim.nesterov": ("optim.name", "sgd"),
    "optim.momentum": ("optim.name", "sgd"),
    "loss_args.margin": ("loss_args.soft_margin", False),
}
"""Settings that are read for one value of another setting only; elsewhere they must stay at their
default, so that nothing a user sets is silently ignored. What losses read, they say themselves."""


def _default(name: str) -> Any:
    group, _, last = name.rpartition(".")
    fields: Any = RunConfig.model_fields[group].annotation if group else RunConfig
    default: Any = fields.model_fields[last].default
    return list(cast(tuple[Any, ...], default)) if isinstance(default, tuple) else default


def change(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """Return `config` with dotted settings replaced, and what they make unread at its default.

    Args:
        changes: As in `override`.

    Example:
        >>> stepwise = override(RunConfig(), {"schedule.milestones": [3]})
        >>> change(stepwise, {"schedule.name": "cosine"}).schedule.milestones
        (15,)
    """
    values = {**flat(config.model_dump(mode="json")), **changes}
    unread = {
        name: _default(name)
        for name, (switch, value) in READ_WHERE.items()
        if values[switch] != value and name not in changes
    }
    return override(config, {**unread, **changes})


def build_config(settings: Mapping[str, Any]) -> RunConfig:
    """Build a config from nested settings, such as a TOML file holds.

    Args:
        settings: Nested mapping with the names of `RunConfig`; what is absent keeps its default.

    Raises:
        ConfigError: If a name is unknown (the nearest one is named) or a value does not fit.
    """
    try:
        return RunConfig.model_validate(dict(settings))
    except ValidationError as error:
        raise ConfigError("; ".join(explain(e, RunConfig) for e in error.errors())) from None


def override(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Return `config` with dotted settings replaced, such as ``{"optim.momentum": 0.9}``.

    Args:
        settings: New values by dotted path; text is read as TOML would read it, where it can be.

    Raises:
        ConfigError: If a path does not exist or a value does not fit.
    """
    known = flat(config.model_dump(mode="json"))
    given = flat(config.model_dump(mode="json", exclude_unset=True))
    for path, value in settings.items():
        if path not in known:
            raise ConfigError(unknown_setting(path, RunConfig))
        # A setting that is text stays as it was written: classes "1", weights "none".
        is_text = isinstance(known[path], str)
        given[path] = parse_value(value) if isinstance(value, str) and not is_text else value
    return build_config(nested(given))


def given_config(config: Any) -> RunConfig:
    """Return the settings that Python gave, as they are or as a dict; None stands for the defaults.

    Args:
        config: RunConfig or dict; that has nested groups, or dotted names as `override` takes them.

    Raises:
        ConfigError: If it is neither, or a setting is unknown or does not fit.
    """
    if config is None or isinstance(config, RunConfig):
        return config or RunConfig()
    if not isinstance(config, Mapping):
        kind = type(config).__name__
        raise ConfigError(
            f"config is a smallset.RunConfig or a dict of settings, got {SHORT.repr(config)} "
            f"({kind}); a TOML file is read by smallset.config.read_config(path)"
        )
    return build_config(nested(flat(dict(cast(Mapping[str, Any], config)))))


def read_config(path: Path) -> RunConfig:
    """Read a TOML file of settings.

    Raises:
        ConfigError: If it is missing, is not TOML, or holds an unknown or ill-fitting setting.
    """
    return build_config(read_toml(path))
