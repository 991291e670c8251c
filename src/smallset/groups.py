"""The groups of settings of a run, each a pydantic model that refuses unknown keys.

A field's docstring is its help text.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from smallset.settings import Settings

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
    skip_empty: bool = False
    """Leave out classes without a readable training image (the record names them) instead of
    stopping."""
    max_megapixels: float = Field(default=80.0, gt=0, le=178)
    """Larger pictures are refused before they are decoded, in millions (at most 178)."""
    val_fraction: float = Field(default=0.15, ge=0, lt=1)
    """Share of images that become val when the data has no splits of its own; of train, when it has
    train and test but no val."""
    test_fraction: float = Field(default=0.25, gt=0, lt=1)
    """Share of images that become test when the data has no splits of its own."""
    split_seed: int = Field(default=0, ge=0)
    """Chooses who becomes train, val and test where smallset draws them."""
    folds: int | None = Field(default=None, ge=0)
    """Cross-validation: train and val are dealt into so many folds, runs that never saw a fold
    score it, and the model learns from all; 0 for none; none: 5 for data without a test split, and
    for data without splits of its own whose val would have fewer than 10 images of a class."""
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
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = (15,)
    """Epochs (from 0, whose rate is lr) at whose start the rate is multiplied by gamma."""
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
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Processor threads of the run; none: as torch chooses. Another number, or another precision,
    forms sums in another order, and training multiplies the last bits: measured, it is another
    seed. Compare runs with the same."""


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
