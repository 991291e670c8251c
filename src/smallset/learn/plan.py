"""What a run will be, known before it trains: its settings resolved, its images, its digest."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from smallset.clean.training_labels import clean_prepared, describe_cleaning
from smallset.config import RunConfig, override
from smallset.data.batches import balanced_batches, share_without_positive
from smallset.data.prepare import DataSource, Prepared, families_of
from smallset.data.read import MANY, folds_for
from smallset.data.split import UsualFolds
from smallset.errors import ConfigError, DataError
from smallset.files import given_path
from smallset.groups import NOT_WITH_FOLDS
from smallset.learn.describe import describe, describe_images
from smallset.learn.objectives import (
    PROBE,
    OnePass,
    Stage,
    balancing,
    build_stages,
    own_loss,
    refuse_unread,
)
from smallset.learn.settle import settle
from smallset.learn.stack import is_stackable
from smallset.learn.teacher import Teacher, read_teacher
from smallset.learn.try_out import try_own_code
from smallset.models.registry import Weights, outline, resolve_weights
from smallset.models.weights import file_sha256
from smallset.progress import Reporter
from smallset.record.record import Record, no_run


@dataclass(frozen=True)
class Plan:
    """A run that can begin."""

    config: RunConfig
    """Without any "auto" and none left in it that decides a number."""
    data: Prepared
    """Before cleaning, where the run is to clean its labels first."""
    start: Path | None
    """Weight file of the run it starts from."""
    described: dict[str, Any]
    """Content of config.json."""
    teacher: Teacher | None = None
    families: Sequence[str] | None = None
    """A name per training image that those which belong together share; None: not looked for."""

    @property
    def digest(self) -> str:
        """Two equal digests mean equal numbers."""
        return self.described["digest"]


class Planner:
    """Plans runs on one data set; images and weight files are looked at once for all of them.

    Args:
        usual_folds: Where settings leave the folds open, deal data that has no test, or is small.
    """

    def __init__(self, source: DataSource, *, usual_folds: bool = False) -> None:
        self.source = source
        self.usual_folds = usual_folds

    def plan(self, config: RunConfig) -> Plan:
        """Resolve the settings of a run and choose its images; nothing is computed from them.

        Raises:
            ConfigError: If settings do not fit.
            DataError: If the data is not fit for training, or weights are not at hand.
        """
        # What a run starts from has all the weights: others need not be there.
        weights = Weights(is_pretrained=False) if config.start_from else self.weights(config)
        config = settle(config, is_pretrained=weights.is_pretrained)
        usual = self._usual_folds(config)
        config = self._with_folds(config, usual)
        stages_of(config)  # an unknown loss should not wait for the data
        cleaning = describe_cleaning(config)
        data = self.source.prepared(config)
        classes = len(data.images.classes)
        of_code = [config.model, config.loss, str(config.image_size), str(classes)]
        self.source.once("tried", of_code, lambda: try_own_code(config, classes))
        start = _start_file(config, data.images.classes) if config.start_from else None
        teacher = self._teacher(config, data) if config.teacher else None
        described = describe(
            self.source.data,
            config,
            data,
            weights=self.source.once("sha256", [*map(str, weights.files)], lambda: weights.sha256),
            start=file_sha256(start) if start else None,
            teacher=teacher.digest if teacher else None,
            cleaning=cleaning,
        )
        described["data"]["usual_folds"] = usual.number
        return Plan(config, data, start, described, teacher)

    def _teacher(self, config: RunConfig, data: Prepared) -> Teacher:
        """Return the teacher of a run, once it is seen to fit."""

        def families() -> dict[str, str]:
            names = families_of(data, config.data, self.source.reporter, most=MANY)
            return dict(zip(data.ids("train"), names, strict=True))

        key = [config.teacher, data.fingerprint()]
        make = partial(read_teacher, config.teacher, data.images.classes, families)
        teacher = self.source.once("teacher", key, make)
        teacher.of(data)
        return teacher

    def _with_folds(self, config: RunConfig, usual: UsualFolds) -> RunConfig:
        """Say into how many folds the data is dealt, where that is open."""
        if config.data.folds is not None:
            return config
        folds = usual.number if self.usual_folds else 0
        if folds:
            said = f"{usual.why}, so {folds} folds score every image; {usual.otherwise}"
            self.source.once("said", [said], lambda: self.source.reporter.note(said))
        return override(config, {"data.folds": folds})

    def _usual_folds(self, config: RunConfig) -> UsualFolds:
        """Return into how many folds `smallset train` deals the data where nothing is said."""
        wants_val = config.start_from or config.teacher or config.keep != "last"
        if wants_val or self.source.judged_splits:
            return UsualFolds()
        key = [config.data.model_dump(include=set(NOT_WITH_FOLDS))]
        return self.source.once("folds", key, lambda: folds_for(self.source.data, config.data))

    def weights(self, config: RunConfig) -> Weights:
        """Find the pretrained weights of a run.

        Raises:
            ConfigError: If there is no such model.
            DataError: If they are not at hand; the message says how to bring them.
        """
        key = [config.model, config.weights]
        return self.source.once("weights", key, lambda: resolve_weights(*key))


def clean_labels(plan: Plan, source: DataSource, reporter: Reporter) -> Plan:
    """Return a plan with its training labels cleaned, where its settings ask for that.

    Args:
        source: Its data; what judges the labels looks at the images in its own way.
    """
    if not plan.config.data.clean:
        return plan
    key = [plan.config.image_size, plan.config.data.model_dump()]
    data, note = source.once(
        "cleaned", key, lambda: clean_prepared(source, plan.data, plan.config, reporter)
    )
    reporter.note(note)
    described = {**plan.described["data"], **describe_images(data)}
    return replace(plan, data=data, described={**plan.described, "data": described})


def stages_of(config: RunConfig, data: Prepared | None = None) -> list[Stage]:
    """Return the stages of a run, each with the part it trains.

    Args:
        config: Settings; `trains` says which part may change at all.
        data: Its images, whose labels say how large the classes are; None where the stages are
            looked at and nothing is trained.

    Raises:
        ConfigError: If there is no such loss, or it does not read a number that was set.
    """
    if ":" in config.loss:
        refuse_unread(config.loss, config.loss_args, set())
        stages = [Stage(config.loss, OnePass(own_loss(config.loss)), "all")]
    else:
        balanced = None
        if data is not None:
            labels = data.given_labels[data.of("train")]
            sizes = np.bincount(labels, minlength=len(data.images.classes))
            balanced = balancing(config.balance, sizes, device=config.compute.device)
        stages = build_stages(config.loss, config.loss_args, balanced)
    probe = [PROBE] if config.head == "probe" else []
    if config.trains != "classifier":
        return probe + stages
    return probe or [stage._replace(trains="classifier") for stage in stages]


def shares_features(plan: Plan) -> str | None:
    """Return what runs have in common that use the same features; None where none are kept."""
    config, weights = plan.config, plan.described["weights"]
    if config.trains != "classifier" or config.augment.is_on or plan.start or weights is None:
        return None
    return json.dumps([config.model, config.image_size, config.data.resize, config.mirror, weights])


def shares_backbone(plan: Plan) -> str | None:
    """Return what runs have in common that can train side by side on one frozen backbone.

    They differ in seed, rate and the numbers of the optimizer alone, and train one Linear layer.

    Returns:
        A text that is equal for such runs; None where a run trains alone.
    """
    config, features = plan.config, None if plan.config.data.folds else shares_features(plan)
    assert config.image_size is not None
    alone = config.mirror or config.teacher
    if features is None or config.batches.kind != "random" or alone:
        return None
    one_pass = all(isinstance(stage.objective, OnePass) for stage in stages_of(config))
    if not one_pass or not _has_linear_head(config.model, config.image_size):
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


def check_batches(plan: Plan, stages: Sequence[Stage], reporter: Reporter) -> None:
    """See whether the batches of a run can be what its settings and its loss want.

    Args:
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
    if any(stage.collapsed_loss is not None for stage in stages):
        if config.trains == "classifier":
            raise ConfigError(
                f"{config.loss} trains the feature part first, which is frozen; "
                "use --set trains=all, or another loss"
            )
        drawn = train
        if batches.balance:
            rows = balanced_batches(train, batches.size, np.random.default_rng(0))
            drawn = train[np.concatenate(rows)]
        share = share_without_positive(drawn, batches.size)
        if batches.kind == "random" and share > 0.01:
            reporter.note(
                f"in random batches of {batches.size}, {share:.0%} of the anchors have no other "
                "image of their class and are left out of the triplet loss; "
                "--set batches.kind=pk gives every anchor one"
            )


def _start_file(config: RunConfig, classes: tuple[str, ...]) -> Path:
    folder = given_path(config.start_from)
    file = folder / "model.safetensors"
    if not file.exists():
        raise DataError(f"start_from: {no_run(folder, f'it has no {file.name}')}")
    there = Record(folder).model
    for what, old, new in (
        ("model", there["model"], config.model),
        ("classes", there["classes"], list(classes)),
        ("image size", there["preprocessing"]["size"], config.image_size),
    ):
        if old != new:
            raise ConfigError(f"start_from: the {what} of {folder} is {old}, this run's is {new}")
    return file
