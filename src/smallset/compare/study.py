"""The runs of a study: which there are, what they are of, and where they lie."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from smallset.compare.spec import WRITTEN, StudySpec, merge, read_study, read_study_json
from smallset.config import RunConfig
from smallset.errors import ConfigError, DataError, RunError
from smallset.files import given_path
from smallset.record.command import set_option
from smallset.record.record import Record

State = Literal["done", "begun", "new", "failed"]


@dataclass
class Job:
    """One run of a study."""

    arm: str
    seed: int
    config: RunConfig
    folder: Path
    needs: "Job | None" = None
    """The run whose weights this one starts from."""
    state: State = "new"
    error: str | None = None

    @property
    def name(self) -> str:
        """Return its place in the study."""
        return f"{self.arm}/seed-{self.seed}"


@dataclass
class Study:
    """A study on some data, in some folder."""

    name: str
    spec: StudySpec
    data: str
    folder: Path
    seeds: int
    overrides: Mapping[str, Any]
    jobs: list[Job]
    """Its own runs."""
    before: list[Job]
    """Runs of other studies that some of these start from."""
    kept: list[Job] = field(default_factory=list)
    """Runs that the folder has of this study, and that are not asked for now."""
    missing: dict[str, str] = field(default_factory=dict)
    """Arms whose pretrained weights are missing, and why."""
    called: tuple[str, ...] = ()
    """The command line that it is, but for the folder and the seeds."""
    network: str = ""
    """"NAME" or "NAME=FILE" in place of the networks that its file names; empty: as they are."""
    taken_over: list[tuple[Job, Path]] = field(default_factory=list)
    """Runs that were found finished in a study beside this one, and copied."""

    @property
    def all_jobs(self) -> list[Job]:
        """Return the runs to be made, in order."""
        return [*self.before, *self.jobs]

    def count(self, state: State) -> int:
        """Return how many runs are in a state."""
        return sum(job.state == state for job in self.all_jobs)


def plan_study(
    name: str,
    data: str | Path,
    folder: Path,
    *,
    seeds: int | None = None,
    arms: Sequence[str] = (),
    network: str = "",
    overrides: Mapping[str, Any] | None = None,
    without_missing: bool = False,
) -> Study:
    """Lay out the runs of a study; nothing is trained or written.

    Args:
        name: A study that comes with smallset, or a TOML file.
        data: As `smallset.data.read.read_data` takes it.
        folder: Of the study; each run goes into ``<arm>/seed-<n>``. Arms and seeds that it has
            already stay in the study, asked for or not.
        seeds: Runs per arm; None takes the study's own number.
        arms: Names of the arms wanted; empty for all.
        network: Replaces the pretrained networks that the arms name: "NAME", or "NAME=FILE".
        overrides: Dotted settings laid over those of every arm.
        without_missing: Leave arms out whose pretrained weights are missing.

    Raises:
        ConfigError: If there is no such study, arm or setting, or it takes no such network.
        DataError: If weights are missing and are not to be left out; names the arms and the cure.
        RunError: If the folder holds the study with another network.
    """
    from smallset.compare.network import at_hand, full_path, missing_weights, put_network

    short, spec = read_study(name)
    network = full_path(network)
    spec = put_network(spec, network, overrides or {}) if network else spec
    whole, spec = spec, spec.only(arms) if arms else spec
    folder = given_path(folder).absolute()
    _refuse_foreign(folder)
    held = read_study_json(folder) if (folder / "study.json").exists() else {}
    _refuse_other_study(folder, held, short, network)
    absolute = given_path(data)
    source = str(absolute.absolute()) if absolute.exists() else str(data)
    file = str(given_path(name).absolute()) if name.endswith(".toml") else name
    called = ["smallset", "study", file, "--data", source, "--arms"]
    called += ["--network", network] if network else []
    called += ["--without-missing"] if without_missing else []
    for setting, value in (overrides or {}).items():
        called += set_option(setting, value)
    overrides = {"compute.threads": 1, **(overrides or {})}
    count = seeds or spec.seeds
    missing = missing_weights(spec, overrides)
    if missing and not without_missing:
        listed = "\n  ".join(f"{arm}: {why}" for arm, why in missing.items())
        raise DataError(
            f"pretrained weights are missing for these arms:\n  {listed}\n"
            f"bring them, or run the study with what is at hand: {at_hand()}, or run the other "
            "arms with --without-missing"
        )
    if missing:
        rest = [arm for arm in spec.arms if arm not in missing]
        if not rest:
            raise DataError(f"the weights of every arm of {short} are missing: nothing to run")
        spec = spec.only(rest)
    asked = {(arm, seed) for arm in spec.arms for seed in range(count)}
    spec, runs = _with_held(spec, whole, held)
    missing = {arm: why for arm, why in missing.items() if arm not in spec.arms}
    named = [arm for arm in (*spec.arms, *missing) if arm in whole.arms]
    at = called.index("--arms")
    called[at : at + 1] = ["--arms", ",".join(named)] if set(named) != set(whole.arms) else []
    most = max([count, *(seed + 1 for _, seed in runs)])
    study = Study(
        short, spec, source, folder, most, overrides, [], [], [], missing, tuple(called), network
    )
    _lay_out(study, asked, runs)
    return study


def _lay_out(study: Study, asked: set[tuple[str, int]], runs: set[tuple[str, int]]) -> None:
    """Add the runs of a study: those asked for, and those that the folder has beside them."""
    starts: dict[Path, Job] = {}
    # Seed by seed: a study that is stopped early has something of every arm.
    for seed, arm in itertools.product(range(study.seeds), study.spec.arms):
        if (arm, seed) not in asked | runs:
            continue
        config = study.spec.config(arm, seed, study.overrides)
        job = Job(arm, seed, config, study.folder / arm / f"seed-{seed}")
        if config.start_from:
            job.needs = _start(config.start_from, seed, study, starts)
            start_from = str(job.needs.folder)
            job.config = config.model_copy(update={"start_from": start_from})
        (study.jobs if (arm, seed) in asked else study.kept).append(job)
    study.before = [job for job in starts.values() if job not in study.jobs + study.kept]
    for job in study.kept:
        job.state = "done" if Record(job.folder).is_complete else "new"


def _with_held(
    spec: StudySpec, whole: StudySpec, held: Mapping[str, Any]
) -> tuple[StudySpec, set[tuple[str, int]]]:
    """Return a study with the arms that its folder has already, and the runs of those.

    Args:
        spec: With the arms that are asked for.
        whole: The study with all of its arms.
        held: study.json of the folder; empty where there is none.
    """
    runs = {(run["arm"], run["seed"]) for run in held.get("runs", ())}
    before = held.get("spec", {}).get("arms", {})
    kept = [arm for arm in whole.arms if arm in spec.arms or arm in before]
    spec = whole.only(kept)
    gone = [arm for arm in before if arm not in whole.arms]
    if gone:  # its file has them no more, and their comparisons were made all the same
        arms = dict(spec.arms) | {arm: merge(held["spec"]["base"], before[arm]) for arm in gone}
        spec = spec.model_copy(update={"arms": arms})
    return spec, {(arm, seed) for arm, seed in runs if arm in spec.arms}


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder with files that are not of this study, which might be written over."""
    if (folder / "study.json").exists() or not folder.is_dir():
        return
    foreign = sorted({path.name for path in folder.iterdir()} & WRITTEN)
    if foreign:
        raise RunError(f"{folder} holds {foreign[0]}, and is not a study; give another --out")


def _refuse_other_study(folder: Path, held: Mapping[str, Any], name: str, network: str) -> None:
    """Refuse a folder with another study, or with this one of other networks.

    Arms are called after their network, so another one would leave those of the first behind.
    """
    if not held:
        return
    if held["study"] != name:
        raise RunError(
            f"{folder} holds the study {held['study']}, and this is {name}; choose another --out"
        )
    before = held.get("network", "")
    if before.partition("=")[0] != network.partition("=")[0]:
        raise RunError(
            f"{folder} holds this study with {before or 'the networks that it names'}; choose "
            "another --out, or the same --network"
        )


def _start(place: str, seed: int, study: Study, starts: dict[Path, Job]) -> Job:
    """Return the run that another starts from: of a study beside this one, or of this one."""
    other, slash, arm = place.partition("/")
    if not slash:
        raise ConfigError(f"start_from in a study is STUDY/ARM, got {place!r}")
    if other == study.name:
        for job in study.jobs + study.kept:
            if (job.arm, job.seed) == (arm, seed):
                return job
        raise ConfigError(f"start_from: {place!r} must be an arm before those that start from it")
    folder = study.folder.parent / other / arm / f"seed-{seed}"
    if folder not in starts:
        _, spec = read_study(other)
        if arm not in spec.arms:
            raise ConfigError(f"start_from: the study {other} has no arm {arm!r}")
        starts[folder] = Job(arm, seed, spec.config(arm, seed, study.overrides), folder)
    return starts[folder]
