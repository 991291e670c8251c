"""Settings of one run: frozen, serialisable, with the unit of every field.

Every group is a pydantic model that refuses unknown keys. A field's docstring is its help text.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pydantic import Field, ValidationError, model_validator

from smallset.errors import ConfigError
from smallset.settings import Settings, explain, flat, nested, parse_value, unknown_setting

Split = Literal["train", "val", "test", "extra"]
SPLITS: tuple[Split, ...] = get_args(Split)
Resize = Literal["squash", "crop", "zoom", "pad"]
Parts = Literal["all", "features", "classifier"]
Balance = Literal["none", "weights", "logits"]


NOT_WITH_FOLDS = (
    "val_fraction", "test_fraction", "train_fraction", "imbalance", "noise_in_val", "clean",
)  # fmt: skip
"""Settings of the data that say who is val, who is test and what is learnt from: folds say that."""


class DataConfig(Settings):
    """Which images are used, with which labels, at which shape."""

    classes: str = ""
    """Classes to keep: names or positions from 1, such as "1-5" or "cat,dog"; empty for all."""
    train_on: str = "train"
    """Splits to train on, joined by "+": "train", "train+val", "train+val+extra"."""
    train_fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of each class's training images that is used, in (0, 1]; at least one image."""
    subset_seed: int = Field(default=0, ge=0)
    """Chooses which training images a fraction keeps; a smaller one keeps some of a larger. Also
    which classes `imbalance` leaves large."""
    imbalance: float = Field(default=1.0, ge=1)
    """Makes even classes uneven, to study it: the largest has so many times the training images of
    the smallest, the others on a geometric line between; val and test stay as they are."""
    noise_rate: float = Field(default=0.0, ge=0, le=1)
    """Fraction of the training labels replaced by a wrong one, in [0, 1]."""
    noise_seed: int = Field(default=0, ge=0)
    """Chooses which labels are replaced; the same for every model and every run seed."""
    noise_in_val: bool = False
    """Replace the same share of the val labels too, as where nobody has clean ones."""
    clean: str = ""
    """Clean the training labels first, judged by "self" (the pictures alone) or by pretrained
    networks joined by ","; "oracle" drops what noise made wrong; empty: do not clean."""
    resize: Resize = "squash"
    """How a picture becomes square: squash both sides, crop the centre, zoom (7/8 of that, as
    pretrained networks are tested), or pad with black."""
    skip_unreadable: bool = False
    """Leave unreadable files out (they are counted in the record) instead of stopping."""
    max_megapixels: float = Field(default=80.0, gt=0, le=178)
    """Larger pictures are refused before they are decoded, in millions (at most 178)."""
    val_fraction: float = Field(default=0.15, ge=0, lt=1)
    """Share of images that become val when the data has no splits of its own."""
    test_fraction: float = Field(default=0.25, gt=0, lt=1)
    """Share of images that become test when the data has no splits of its own."""
    split_seed: int = Field(default=0, ge=0)
    """Chooses who becomes train, val and test when the data has no splits of its own."""
    folds: int | None = Field(default=None, ge=0)
    """Cross-validation: train and val are dealt into so many folds, runs that never saw a fold
    score it, and the model learns from all; 0 for none; none: 5 for data without splits of its own
    whose val would have fewer than 10 images of a class."""
    repeats: int = Field(default=1, ge=1)
    """How often the images are dealt into folds."""

    @property
    def judges(self) -> list[str]:
        """Return the pretrained networks that `clean` names, as "NAME" or "NAME=FILE"."""
        named = [net.strip() for net in self.clean.split(",")] if self.clean else []
        return [net for net in named if net not in ("self", "oracle")]

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        names = self.train_on.split("+")
        allowed = [split for split in SPLITS if split != "test"]
        for name in names:
            if name not in allowed:
                why = " (the test split is for the final score only)" if name == "test" else ""
                raise ValueError(f"train_on joins some of {allowed} by '+', got {name!r}{why}")
        if len(set(names)) < len(names):
            raise ValueError(f"train_on names a split twice: {self.train_on!r}")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must stay under 1 to leave a train part")
        if self.noise_in_val and not self.noise_rate:
            raise ValueError("noise_in_val belongs to a noise_rate above 0")
        if self.folds == 1:
            raise ValueError("one fold leaves nothing to learn from; give 2 or more, or 0 for none")
        if self.repeats > 1 and not self.folds:
            raise ValueError("repeats is read where folds is 2 or more")
        for name in NOT_WITH_FOLDS if self.folds else ():
            if getattr(self, name) != DataConfig.model_fields[name].default:
                raise ValueError(f"{name} does not go with folds, got folds = {self.folds}")
        return self


class LossConfig(Settings):
    """Numbers inside the losses; each loss reads its own."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread over all classes, in [0, 1); cross-entropy only."""
    margin: float = Field(default=0.25, ge=0)
    """Wanted gap between positive and negative, in units of the similarity or distance."""
    soft_margin: bool = False
    """Replace max(0, margin + x) by log(1 + exp(x)), which never stands still."""
    gce_q: float = Field(default=0.7, gt=0, le=1)
    """Exponent of generalised cross entropy: towards 0 cross entropy, at 1 mean absolute error."""


class OptimConfig(Settings):
    """How the weights are updated."""

    name: Literal["sgd", "adamw"] = "sgd"
    """Optimizer."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Momentum of SGD, in [0, 1)."""
    nesterov: bool = False
    """Nesterov's form of momentum (SGD)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty (SGD) or decoupled decay (AdamW), on all trained parameters."""
    grad_clip: float | None = Field(default=None, gt=0)
    """Largest L2 norm of the whole gradient; none for no limit."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor on the rate from each block of the feature part to the one before it, in (0, 1]; the
    classifier part has the whole rate."""
    frozen_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the blocks of the feature part, the first ones, that stay as they are, in [0, 1)."""
    batch_norm: Literal["train", "eval"] = "train"
    """eval: BatchNorm keeps the means and variances that it was loaded with."""

    @model_validator(mode="after")
    def _check(self) -> "OptimConfig":
        # Where the momentum is open, a recipe may bring it; then this is looked at again.
        if self.nesterov and not self.momentum and "momentum" in self.model_fields_set:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class ScheduleConfig(Settings):
    """How the learning rate moves during a stage."""

    name: Literal["multistep", "cosine", "constant"] = "multistep"
    """multistep: times gamma at each milestone; cosine: to 0 at the end; constant."""
    milestones: tuple[int, ...] = (15,)
    """Epochs (from 0) at whose start the rate is multiplied by gamma."""
    gamma: float = Field(default=0.1, gt=0, le=1)
    """Factor at each milestone."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs of linear rise from 0 to the rate; fractions are fine."""


class AugmentConfig(Settings):
    """Random changes of training images; all off by default."""

    flip: bool = False
    """Mirror left-right with probability 1/2."""
    rotation_degrees: float = Field(default=0.0, ge=0, le=180)
    """Rotate by an angle uniform in [-x, x] degrees; uncovered corners repeat the edge."""
    crop_fraction: float = Field(default=0.0, ge=0, le=0.5)
    """Shift by up to this share of the side in each direction (crop of a mirrored-edge image)."""
    color: float = Field(default=0.0, ge=0, le=1)
    """Brightness, contrast and saturation times a factor uniform in [1 - x, 1 + x]."""
    erasing: float = Field(default=0.0, ge=0, le=1)
    """Probability of painting a random rectangle (2-33 % of the area) in the mean colour."""
    smallest_crop: float = Field(default=1.0, gt=0, le=1)
    """Cut out a random rectangle (sides 3:4 to 4:3) of an area uniform in [x, 1] of the image, and
    bring it to full size; 1 for none."""

    @property
    def is_on(self) -> bool:
        """Whether training images differ from epoch to epoch."""
        return self != AugmentConfig()


class BatchConfig(Settings):
    """How training images are grouped."""

    kind: Literal["random", "pk"] = "random"
    """random: shuffled, each image once per epoch; pk: P classes x K images in every batch."""
    size: int = Field(default=32, ge=2)
    """Images per random batch; at least 2, as BatchNorm needs. Where less than half a batch is left
    over, the last two share their images evenly."""
    balance: bool = False
    """Draw every class equally often in an epoch, which keeps its length: images of small classes
    come several times, those of large ones not all."""
    classes_per_batch: int = Field(default=8, ge=2)
    """P of pk batches."""
    images_per_class: int = Field(default=4, ge=2)
    """K of pk batches."""


class ComputeConfig(Settings):
    """Where and with which arithmetic; part of the numbers, so part of the record."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes cuda, then mps, then cpu."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the forward pass; auto is bfloat16 on GPUs and processors that have it."""
    threads: int | None = Field(default=None, ge=1)
    """Processor threads of the run; none: as torch chooses. Another number forms sums in another
    order, so the last bits of all numbers differ."""


class FigureConfig(Settings):
    """Pictures drawn from the finished record; never changes a number."""

    classes: str = ""
    """Classes of the feature pictures, as in data.classes; empty: all, or 5 of more than 10."""
    tsne: bool = True
    """Draw t-SNE beside PCA."""
    lang: Literal["auto", "en", "zh"] = "auto"
    """Language of figures and page; auto takes that of the locale."""
    report: bool = True
    """Write the page of the run, report.html, too."""


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

        Figures do not, nor does the place of the weights: their content does, and is hashed apart.
        Nor does the name of a recipe, but the settings that came of it.
        """
        exclude = {"figures", "start_from", "recipe"}
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


def read_config(path: Path) -> RunConfig:
    """Read a TOML file of settings.

    Raises:
        ConfigError: If it is missing, is not TOML, or holds an unknown or ill-fitting setting.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None
    return build_config(settings)
