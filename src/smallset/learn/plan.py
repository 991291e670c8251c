"""What a run will be, known before it trains: its settings resolved, its images, its digest."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from smallset.compute import resolve
from smallset.config import RunConfig, Split
from smallset.data.batches import share_without_positive
from smallset.data.prepare import Opened, Prepared, open_images, prepare
from smallset.errors import ConfigError, DataError
from smallset.learn.describe import describe
from smallset.learn.objectives import Stage, build_stages
from smallset.learn.stack import is_stackable
from smallset.models.registry import Weights, default_image_size, outline, resolve_weights
from smallset.models.weights import file_sha256
from smallset.own_code import load_object
from smallset.progress import Reporter
from smallset.record.record import Record

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """A run that can begin."""

    config: RunConfig
    """Without any "auto" and none left in it that decides a number."""
    data: Prepared
    start: Path | None
    """Weight file of the run it starts from."""
    described: dict[str, Any]
    """Content of config.json."""

    @property
    def digest(self) -> str:
        """Two equal digests mean equal numbers."""
        return self.described["digest"]


class Planner:
    """Plans runs on one data set; images and weight files are looked at once for all of them.

    Args:
        data: As `smallset.data.read.read_data` takes it.
        reporter: Told of everything a user should know.
        judged_splits: Where labels are judged and nothing is scored: the splits whose images all
            count as training images, and no others as anything. Empty for the splits as they are.
    """

    def __init__(
        self, data: str | Path, reporter: Reporter, *, judged_splits: Sequence[Split] = ()
    ) -> None:
        self.data = data
        self.reporter = reporter
        self.judged_splits = judged_splits
        self._known: dict[str, Any] = {}

    def plan(self, config: RunConfig) -> Plan:
        """Resolve the settings of a run and choose its images.

        Args:
            config: Settings as the user gave them.

        Raises:
            ConfigError: If settings do not fit.
            DataError: If the data is not fit for training, or weights cannot be had.
        """
        size = config.image_size or default_image_size(config.model)
        config = config.model_copy(update={"image_size": size, "compute": resolve(config.compute)})
        stages_of(config)  # an unknown loss should not wait for the data
        # What a run starts from has all the weights: others need not be there.
        weights = Weights(is_pretrained=False) if config.start_from else self.weights(config)
        data = prepare(self._opened(config), config, needs_test=not self.judged_splits)
        if config.data.clean:
            data = self._once(
                "cleaned",
                [config.image_size, config.data.model_dump()],
                partial(_clean, self, data, config),
            )
        start = _start_file(config, data.images.classes) if config.start_from else None
        if config.trains == "auto":
            trains = "classifier" if weights.is_pretrained else "all"
            if start is not None:
                trains = Record(start.parent).config["config"]["trains"]
            config = config.model_copy(update={"trains": trains})
        described = describe(
            self.data, config, data,
            weights=self._once("sha256", [str(weights.file)], lambda: weights.sha256),
            start=file_sha256(start) if start else None,
        )  # fmt: skip
        return Plan(config, data, start, described)

    def weights(self, config: RunConfig) -> Weights:
        """Find the pretrained weights of a run.

        Args:
            config: Its settings.

        Raises:
            ConfigError: If there is no such model.
            DataError: If they cannot be had; the message says how to bring them.
        """
        find = lambda: resolve_weights(config.model, config.weights)  # noqa: E731
        return self._once("weights", [config.model, config.weights], find)

    def _opened(self, config: RunConfig) -> Opened:
        shape = config.data.model_dump(include={"resize", "skip_unreadable", "max_megapixels"})
        split = config.data.model_dump(include={"val_fraction", "test_fraction", "split_seed"})
        key = [config.image_size, shape, split]
        return self._once("images", key, lambda: self._open(config))

    def _open(self, config: RunConfig) -> Opened:
        opened = open_images(self.data, config, self.reporter)
        if not self.judged_splits:
            return opened
        splits = np.where(np.isin(opened.images.splits, self.judged_splits), "train", "not judged")
        return replace(opened, images=replace(opened.images, splits=splits))

    def _once(self, what: str, key: list[Any], make: Callable[[], T]) -> T:
        name = f"{what} {json.dumps(key)}"
        if name not in self._known:
            self._known[name] = make()
        return self._known[name]


def _clean(planner: Planner, data: Prepared, config: RunConfig) -> Prepared:
    # Cleaning plans runs itself, of the networks that judge.
    from smallset.clean.training_labels import clean_prepared

    return clean_prepared(planner, data, config)


def stages_of(config: RunConfig) -> list[Stage]:
    """Return the stages of a run, each with the part it trains.

    Args:
        config: Settings; `trains` says which part may change at all.

    Raises:
        ConfigError: If there is no such loss.
    """
    if ":" in config.loss:
        stages = [Stage(config.loss, load_object(config.loss), "all")]
    else:
        stages = build_stages(config.loss, config.loss_args)
    if config.trains != "classifier":
        return stages
    return [stage._replace(trains="classifier") for stage in stages]


def shares_features(plan: Plan) -> str | None:
    """Return what runs have in common that use the same features; None where none are kept.

    Args:
        plan: A run.
    """
    config, weights = plan.config, plan.described["weights"]
    if config.trains != "classifier" or config.augment.is_on or plan.start or weights is None:
        return None
    return json.dumps([config.model, config.image_size, config.data.resize, weights])


def shares_backbone(plan: Plan) -> str | None:
    """Return what runs have in common that can train side by side on one frozen backbone.

    They differ in seed, rate and the numbers of the optimizer alone, and train one Linear layer.

    Args:
        plan: A run.

    Returns:
        A text that is equal for such runs; None where a run trains alone.
    """
    config, features = plan.config, shares_features(plan)
    assert config.image_size is not None
    if features is None or config.batches.kind != "random":
        return None
    if not _has_linear_head(config.model, config.image_size):
        return None
    # The fingerprint holds what the seeds of the data chose.
    of_data = {"noise_seed": True, "subset_seed": True}
    free: Any = {"seed": True, "lr": True, "optim": True, "figures": True, "data": of_data}
    optim = config.optim.model_dump(include={"name", "grad_clip"})
    same = [features, optim, config.model_dump(mode="json", exclude=free)]
    return json.dumps([*same, plan.described["data"]["fingerprint"]])


@cache
def _has_linear_head(model: str, image_size: int) -> bool:
    return is_stackable(outline(model, 2, image_size).classifier)


def check_batches(plan: Plan, reporter: Reporter) -> None:
    """See whether the batches of a run can be what its settings and its loss want.

    Args:
        plan: The run.
        reporter: Told how many anchors will have no positive.

    Raises:
        ConfigError: If there are too few classes for P, or a triplet loss has nothing to train.
        DataError: If there are too few images.
    """
    config, data = plan.config, plan.data
    train = data.given_labels[data.of("train")]
    if len(train) < 2:
        raise DataError("training needs two images or more: BatchNorm cannot train on one")
    if config.keep == "best-val" and not len(data.of("val")):
        raise DataError(
            "keep=best-val needs val images to choose by; add a val split, set data.val_fraction, "
            "or keep=last"
        )
    batches = config.batches
    if batches.kind == "pk" and len(data.images.classes) < batches.classes_per_batch:
        raise ConfigError(
            f"batches.classes_per_batch is {batches.classes_per_batch}, "
            f"the data has {len(data.images.classes)} classes; lower it"
        )
    if any(stage.wants_positives for stage in stages_of(config)):
        if config.trains == "classifier":
            raise ConfigError(
                f"{config.loss} trains the feature part first, which is frozen; "
                "use --set trains=all, or another loss"
            )
        share = share_without_positive(train, batches.size)
        if batches.kind == "random" and share > 0.01:
            reporter.note(
                f"in random batches of {batches.size}, {share:.0%} of the anchors have no other "
                "image of their class and are left out of the triplet loss; "
                "--set batches.kind=pk gives every anchor one"
            )


def _start_file(config: RunConfig, classes: tuple[str, ...]) -> Path:
    folder = Path(config.start_from).expanduser()
    file = folder / "model.safetensors"
    if not file.exists():
        raise DataError(f"start_from: {folder} is no record of a finished run: no {file.name}")
    there = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    for what, old, new in (
        ("model", there["model"], config.model),
        ("classes", there["classes"], list(classes)),
        ("image size", there["preprocessing"]["image_size"], config.image_size),
    ):
        if old != new:
            raise ConfigError(f"start_from: the {what} of {folder} is {old}, this run's is {new}")
    return file
