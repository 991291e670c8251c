"""Search for settings: Optuna proposes, successive halving stops the hopeless, val decides.

The test images are never scored here; a study compares the winner with the start afterwards.
"""

import contextlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smallset.config import RunConfig, override
from smallset.data.prepare import DataSource
from smallset.errors import ConfigError, DataError, RunError
from smallset.files import (
    clear_unfinished,
    csv_text,
    holds_files,
    make_folder,
    write_atomic,
    write_json,
)
from smallset.progress import Reporter
from smallset.reading import read_json
from smallset.settings import flat, nested, parse_value, unknown_setting

DEFAULT_SEARCH = {"lr": "0.001:0.3:log", "optim.weight_decay": "1e-6:1e-2:log"}
"""Rate and weight decay jointly: for small data from scratch they matter most."""


SCRATCH = ".trial-"  # in the folder of the search, while a trial trains


@dataclass(frozen=True)
class Space:
    """Where one setting is looked for."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: Any, name: str) -> Any:
        """Let Optuna propose a value."""
        if self.choices:
            return trial.suggest_categorical(name, self.choices)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def nearest(self, value: Any) -> Any:
        """Return the value, or where it lies outside the nearest inside; None if there is none."""
        if self.choices:
            return value if value in self.choices else None
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Trial:
    """One proposal, trained with every seed."""

    number: int
    settings: dict[str, Any]
    val_accuracy: float | None
    """Mean over seeds after its last epoch, in [0, 1]; None if it was never scored."""
    epochs: int
    """How many it was trained for; fewer than planned where it was stopped."""
    state: str
    """complete, stopped (successive halving), or diverged."""


@dataclass(frozen=True)
class Tuned:
    """What a search found."""

    folder: Path
    trials: tuple[Trial, ...]
    best: Trial
    config: RunConfig
    """The start with the best settings laid over it."""


def parse_space(text: str) -> Space:
    """Read "low:high", "low:high:log", or "a,b,c".

    Raises:
        ConfigError: If it is none of these.

    Example:
        >>> parse_space("1e-4:1e-1:log"), parse_space("16,32").choices
        (Space(low=0.0001, high=0.1, log=True, choices=()), (16, 32))
    """
    if ":" not in text:
        return Space(choices=tuple(parse_value(part.strip()) for part in text.split(",")))
    low, high, *rest = text.split(":")
    try:
        space = Space(float(low), float(high), log=rest == ["log"])
    except ValueError:
        space = Space()
    if not space.low < space.high or rest not in ([], ["log"]) or (space.log and space.low <= 0):
        raise ConfigError(f"a search space is LOW:HIGH, LOW:HIGH:log or A,B,C, got {text!r}")
    return space


def tune(
    data: str | Path,
    config: RunConfig,
    folder: Path,
    *,
    search: Mapping[str, str] | None = None,
    trials: int = 30,
    seeds: int = 2,
    on_trial: Callable[[Trial], object] | None = None,
    reporter: Reporter | None = None,
) -> Tuned:
    """Search settings by their mean accuracy on val over seeds; continues one that was stopped.

    The first trial is the start itself, moved into the space where it lies outside (a weight decay
    of 0 becomes the least). Trials are trained one after the other, the seeds of a
    trial epoch by epoch beside each other, and after 1/9 and 1/3 of the epochs a trial goes on only
    if it is among the best third so far (Optuna's asynchronous successive halving).

    Args:
        data: As `smallset.data.read.read_data` takes it; needs a val split.
        folder: Where the journal, trials.csv, best.toml and compare.toml go.
        search: Space of each setting, as `parse_space` reads it; None takes rate x weight decay.
        reporter: Told what a user should know; None says nothing.

    Raises:
        ConfigError: If Optuna is missing, or a setting or space does not fit.
        DataError: If there are no val images.
        RunError: If the folder holds a search with other settings, or every trial diverged.

    Source:
        Li et al. 2020, "A system for massively parallel hyperparameter tuning",
        https://arxiv.org/abs/1810.05934; Akiba et al. 2019 (Optuna).
    """
    optuna = _optuna()
    spaces = {name: parse_space(text) for name, text in (search or DEFAULT_SEARCH).items()}
    _known(config, spaces)
    make_folder(folder)
    _same_search(folder, config, spaces, seeds)
    clear_unfinished(folder)
    for left in folder.glob(f"{SCRATCH}*"):  # by a killed one
        shutil.rmtree(left, ignore_errors=True)
    trainer = _Trainer(data, config, folder, seeds, reporter or Reporter())
    start = trainer.start(spaces)
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    steps = trainer.num_epochs
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend), study_name="tune", direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=max(1, steps // 9), reduction_factor=3
        ),
    )  # fmt: skip
    for stale in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(stale.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(stale.params)
    if not study.trials:
        near = {name: spaces[name].nearest(value) for name, value in start.items()}
        study.enqueue_trial({name: value for name, value in near.items() if value is not None})
    while len(_ended(study)) < trials:
        # A sampler of its own for each trial: a search that was stopped goes on as if it had not.
        study.sampler = optuna.samplers.TPESampler(seed=len(_ended(study)), n_startup_trials=8)
        trial = study.ask()
        settings = {name: space.suggest(trial, name) for name, space in spaces.items()}
        _run_trial(study, trial, override(config, settings), trainer)
        if on_trial is not None:
            on_trial(_read_trial(study.trials[trial.number]))
        _write_trials(folder, study)
    ended = tuple(_read_trial(trial) for trial in _ended(study))
    finished = [trial for trial in ended if trial.state == "complete"]
    if not finished:
        raise RunError("no trial came to its end: every one diverged; search lower rates")
    best = max(finished, key=lambda trial: trial.val_accuracy or 0.0)
    tuned = Tuned(folder, ended, best, override(config, best.settings))
    write_atomic(folder / "best.toml", toml_text(_set(tuned.config)))
    write_atomic(folder / "compare.toml", _comparison(config, best.settings))
    return tuned


class _Trainer:
    """Trains the seeds of a trial side by side, and scores them on val."""

    def __init__(
        self, data: str | Path, config: RunConfig, folder: Path, seeds: int, reporter: Reporter
    ) -> None:
        from smallset.learn.plan import Planner, stages_of

        self.source = DataSource(data, reporter)
        self.planner = Planner(self.source)
        self.folder, self.seeds = folder, seeds
        plan = self.planner.plan(config)
        if not len(plan.data.of("val")):
            raise DataError(
                f"{data} has no val images, and val decides what is best; add "
                "some, or set data.val_fraction"
            )
        self.config = plan.config
        stages = stages_of(plan.config)
        self.num_epochs = sum(1 if s.objective is None else plan.config.epochs for s in stages)

    def start(self, spaces: Mapping[str, Space]) -> dict[str, Any]:
        """Return the values that the searched settings have at the start."""
        known = flat(self.config.model_dump(mode="json"))
        return {name: known[name] for name in spaces}

    def epochs(self, config: RunConfig) -> Iterator[float | None]:
        """Yield the mean accuracy on val after each epoch; None ends it: a seed diverged."""
        from smallset.compute import torch_as_it_was
        from smallset.learn.plan import clean_labels
        from smallset.learn.run import build_run
        from smallset.learn.stages import train_together

        with contextlib.ExitStack() as stack:
            stack.enter_context(torch_as_it_was(config.compute.threads))
            runs = []
            for seed in range(self.seeds):
                place = tempfile.TemporaryDirectory(prefix=SCRATCH, dir=self.folder)
                scratch = Path(stack.enter_context(place))
                plan = self.planner.plan(config.model_copy(update={"seed": seed}))
                plan = clean_labels(plan, self.source, Reporter())
                runs.append(build_run(plan, scratch, Reporter()))
            for _ in zip(*(train_together([run], resume=False) for run in runs), strict=False):
                if any(run.state.error is not None for run in runs):
                    break
                yield float(np.mean([run.state.kept_line["val_accuracy"] for run in runs]))
            if any(run.state.error is not None for run in runs):
                yield None


def _run_trial(study: Any, trial: Any, config: RunConfig, trainer: _Trainer) -> None:
    from optuna.trial import TrialState

    accuracy: float | None = None
    for epoch, accuracy in enumerate(trainer.epochs(config), start=1):
        if accuracy is None:
            trial.set_user_attr("diverged", True)
            study.tell(trial, state=TrialState.FAIL)
            return
        trial.report(accuracy, epoch)
        if epoch < trainer.num_epochs and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    study.tell(trial, accuracy)


def _ended(study: Any) -> list[Any]:
    """Return the trials that came to an end; one that a kill cut short has no value."""
    from optuna.trial import TrialState

    kinds = (TrialState.COMPLETE, TrialState.PRUNED)
    trials = study.get_trials(deepcopy=False)
    return [t for t in trials if t.state in kinds or t.user_attrs.get("diverged")]


def _read_trial(trial: Any) -> Trial:
    states = {"COMPLETE": "complete", "PRUNED": "stopped", "FAIL": "diverged"}
    values = trial.intermediate_values
    last = values[max(values)] if values else None
    return Trial(trial.number, dict(trial.params), last, len(values), states[trial.state.name])


def _known(config: RunConfig, spaces: Mapping[str, Space]) -> None:
    """Refuse to search a setting that there is not."""
    known = flat(config.model_dump(mode="json"))
    for name in spaces:
        if name not in known:
            raise ConfigError(unknown_setting(name, RunConfig))


def _same_search(folder: Path, config: RunConfig, spaces: Mapping[str, Space], seeds: int) -> None:
    """Refuse to mix two searches in one folder."""
    content = {
        "start": config.model_dump(mode="json"), "seeds": seeds,
        "search": {name: vars(space) for name, space in spaces.items()},
    }  # fmt: skip
    file = folder / "tune.json"
    asked = json.loads(json.dumps(content))
    if not file.exists() and holds_files(folder):
        raise RunError(f"{folder} is not empty, and holds no search; give another --out")
    if file.exists() and read_json(file, fix="choose another --out") != asked:
        raise RunError(f"{folder} holds a search with other settings; choose another --out")
    write_json(file, content)


def _write_trials(folder: Path, study: Any) -> None:
    trials = [_read_trial(trial) for trial in _ended(study)]
    names = sorted({name for trial in trials for name in trial.settings})
    rows = [["trial", "state", "epochs", "val_accuracy", *names]]
    for trial in trials:
        accuracy = "" if trial.val_accuracy is None else f"{trial.val_accuracy:.6f}"
        values = [str(trial.settings.get(name, "")) for name in names]
        rows.append([str(trial.number), trial.state, str(trial.epochs), accuracy, *values])
    write_atomic(folder / "trials.csv", csv_text(rows))


def _set(config: RunConfig) -> dict[str, Any]:
    """Return what was set, nested; the rest is the recipe's."""
    return config.model_dump(mode="json", exclude_unset=True)


def _comparison(start: RunConfig, best: Mapping[str, Any]) -> str:
    base = _set(start)
    base.pop("seed", None)
    study = {
        "title": "Tuned against the start",
        "about": "The settings that a search on val found, and those it started from.",
        "seeds": 5, "baseline": "start", "base": base, "arms": {"start": {}, "tuned": nested(best)},
    }  # fmt: skip
    return toml_text(study)


def toml_text(content: Mapping[str, Any], prefix: str = "") -> str:
    """Write nested settings as TOML.

    Args:
        content: Text, numbers, truth values, lists and mappings; None is left out.
        prefix: Names of the tables around it, with a dot after each.

    Example:
        >>> print(toml_text({"lr": 0.1, "optim": {"momentum": 0.9}}), end="")
        lr = 0.1
        [optim]
        momentum = 0.9
    """
    # JSON's text, numbers, lists and truth values are TOML's too.
    plain = {k: v for k, v in content.items() if not isinstance(v, Mapping) and v is not None}
    tables = {k: v for k, v in content.items() if isinstance(v, Mapping)}
    lines = [f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in plain.items()]
    for name, table in tables.items():
        lines.append(f"[{prefix}{name}]\n")
        lines.append(toml_text(table, f"{prefix}{name}."))
    return "".join(lines)


def _optuna() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import optuna
    except ImportError:
        raise ConfigError("tune needs the extra: pip install 'smallset[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
