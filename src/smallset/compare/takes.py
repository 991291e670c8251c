"""How long a study takes: its runs and their epochs as asked for, and what an epoch takes."""

from collections.abc import Mapping
from typing import Any

from smallset.compare.spec import StudySpec
from smallset.config import RunConfig
from smallset.models.by_name import MODELS
from smallset.recipes import resolve_recipe
from smallset.words import counted


def takes(spec: StudySpec, *, seeds: int, overrides: Mapping[str, Any]) -> str:
    """Return how long a study takes, as far as its file knows.

    Args:
        spec: With the arms that are asked for.
        seeds: Runs per arm.
        overrides: Dotted settings laid over those of every arm.

    Raises:
        ConfigError: If a setting is unknown or does not fit.
    """
    own = [_laid(spec, arm, {}) for arm in spec.arms]
    asked = [_laid(spec, arm, overrides) for arm in spec.arms]
    # Epochs of our own networks take time. The features of a frozen one are computed once; what
    # trains the whole of a pretrained one says so in its study.
    trained = [each for each in asked if each.model in MODELS]
    runs = len(asked) * seeds
    said = f"{counted(len(asked), 'arm')} x {counted(seeds, 'seed')}, {counted(runs, 'run')}"
    if trained:
        low, high = min(each.epochs for each in trained), max(each.epochs for each in trained)
        said += f" of {low} epochs" if low == high else f" of {low} to {high} epochs"
        if len(trained) < len(asked):
            train = "trains" if len(trained) == 1 else "train"
            said += f" where {counted(len(trained), 'arm')} {train} by them"
    parts = [said]
    if spec.epoch_seconds and "model" not in overrides:
        work = seeds * sum(_epochs(now, before) for now, before in zip(asked, own, strict=True))
        parts.append(_on_two_cores(work, spec.epoch_seconds, asked[0].compute.precision))
    return "; ".join([*parts, *([spec.takes] if spec.takes else [])])


def _on_two_cores(work: float, epoch_seconds: tuple[float, float], precision: str) -> str:
    """Return what epochs take on two cores of this machine, which has bfloat16 or has not.

    Args:
        epoch_seconds: With bfloat16 and without.
        precision: As asked for; "auto" takes bfloat16 where the processor has it.
    """
    from smallset.compute import has_bfloat16  # torch, which the list of studies need not

    fast, slow = (duration(work * seconds) for seconds in epoch_seconds)
    has = has_bfloat16("cpu")
    if precision == "auto":
        does = "has" if has else "has not"
        return f"about {fast if has else slow} on two cores (bfloat16, which this machine {does})"
    return f"about {fast if precision == 'bfloat16' and has else slow} on two cores ({precision})"


def _laid(spec: StudySpec, arm: str, overrides: Mapping[str, Any]) -> RunConfig:
    """Return the settings of an arm with those of its recipe, where it names one."""
    config = spec.config(arm, 0, overrides)
    if config.recipe == "auto":
        return config
    return resolve_recipe(config, config.recipe, reads=lambda *_: True)


def _epochs(now: RunConfig, before: RunConfig) -> float:
    """Return the epochs of a run, in those over all images at the size that its study has."""
    if now.model not in MODELS:
        return 0.0
    size, own = (each.image_size or 112 for each in (now, before))
    return now.epochs * now.data.train_fraction * (size / own) ** 2


def duration(seconds: float) -> str:
    """Return a time as a person says it.

    Example:
        >>> duration(42), duration(600), duration(9000), duration(7200)
        ('42 s', '10 min', '2 h 30 min', '2 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min".removesuffix(" 0 min")
