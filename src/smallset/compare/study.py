"""Plan a study, run what is not done yet, and keep account of it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from smallset.compare.execute import Draw, Outcome, Task, Todo, Trainings
from smallset.compare.spec import WRITTEN, StudySpec, read_study, read_study_json
from smallset.config import RunConfig
from smallset.data.prepare import DataSource
from smallset.errors import ConfigError, DataError, RunError
from smallset.files import clear_unfinished, given_path, make_folder, write_json
from smallset.progress import Reporter
from smallset.record.command import set_option
from smallset.record.record import Record
from smallset.settings import differences

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


Execute = Callable[[Sequence[Task]], Iterator[list[Outcome]]]
"""Runs tasks and yields how the runs of each ended: `execute` with its choices made."""


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
        folder: Of the study; each run goes into ``<arm>/seed-<n>``.
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
    spec = spec.only(arms) if arms else spec
    folder = given_path(folder).absolute()
    _refuse_foreign(folder)
    _refuse_other_network(folder, network)
    absolute = given_path(data)
    source = str(absolute.absolute()) if absolute.exists() else str(data)
    file = str(given_path(name).absolute()) if name.endswith(".toml") else name
    called = ["smallset", "study", file, "--data", source]
    called += ["--arms", ",".join(arms)] if arms else []
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
    study = Study(
        short, spec, source, folder, count, overrides, [], [], missing, tuple(called), network
    )
    starts: dict[Path, Job] = {}
    # Seed by seed: a study that is stopped early has something of every arm.
    for seed in range(count):
        for arm in spec.arms:
            config = spec.config(arm, seed, overrides)
            job = Job(arm, seed, config, folder / arm / f"seed-{seed}")
            if config.start_from:
                job.needs = _start(config.start_from, seed, study, starts)
                start_from = str(job.needs.folder)
                job.config = config.model_copy(update={"start_from": start_from})
            study.jobs.append(job)
    study.before = [job for job in starts.values() if job not in study.jobs]
    return study


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder with files that are not of this study, which might be written over."""
    if (folder / "study.json").exists() or not folder.is_dir():
        return
    foreign = sorted({path.name for path in folder.iterdir()} & WRITTEN)
    if foreign:
        raise RunError(f"{folder} holds {foreign[0]}, and is not a study; give another --out")


def _refuse_other_network(folder: Path, network: str) -> None:
    """Arms are called after their network, so another one would leave those of the first behind."""
    if not (folder / "study.json").exists():
        return
    held = read_study_json(folder).get("network", "")
    if held.partition("=")[0] != network.partition("=")[0]:
        raise RunError(
            f"{folder} holds this study with {held or 'the networks that it names'}; choose "
            "another --out, or the same --network"
        )


def _start(place: str, seed: int, study: Study, starts: dict[Path, Job]) -> Job:
    """Return the run that another starts from: of a study beside this one, or of this one."""
    other, slash, arm = place.partition("/")
    if not slash:
        raise ConfigError(f"start_from in a study is STUDY/ARM, got {place!r}")
    if other == study.name:
        for job in study.jobs:
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


class Accountant:
    """Knows what of a study is done, by the digests of the records.

    Args:
        study: The study; the states of its jobs are kept up to date.
        reporter: Told what a user should know, and how far decoding is.
    """

    def __init__(self, study: Study, reporter: Reporter) -> None:
        from smallset.learn.plan import Planner

        self.study = study
        self.planner = Planner(DataSource(study.data, reporter))
        self.plans: dict[Path, Any] = {}
        self._beside: dict[str, Path] | None = None

    def look(self, jobs: Sequence[Job]) -> None:
        """Set the state of each run; copy those that a study beside this one has finished.

        Raises:
            RunError: If a folder holds a run with other settings or data; says which.
        """
        for job in jobs:
            record = Record(job.folder)
            if job.needs is not None and not Record(job.needs.folder).is_complete:
                if record.has_begun:
                    raise RunError(f"{job.folder} was begun, but {job.needs.folder} is not there")
                job.state = "new"
                continue
            if job.folder not in self.plans:
                self.plans[job.folder] = self.planner.plan(job.config)
            plan = self.plans[job.folder]
            if record.has_begun and record.config["digest"] != plan.digest:
                changed = differences(record.config, plan.described)
                listed = "\n  ".join(c for c in changed if not c.startswith(("commit", "versions")))
                raise RunError(
                    f"{job.folder} holds a run with other settings or data; choose another "
                    f"--out for this study:\n  {listed}"
                )
            if not record.has_begun:
                self._take_over(job, plan.digest)
            job.state = "done" if record.is_complete else "begun" if record.has_begun else "new"

    def tasks(self, jobs: Sequence[Job], draw: Draw | None) -> list[Task]:
        """Share runs that are not done out into tasks.

        Runs that use the same features of a frozen backbone make one task, and those of its
        classifiers that can train side by side one group.

        Args:
            draw: Draws the figures of a finished run.
        """
        from smallset.learn.plan import shares_backbone, shares_features

        tasks: dict[str, dict[str, list[Todo]]] = {}
        for job in jobs:
            if job.state == "done":
                continue
            plan = self.plans[job.folder]
            group = shares_backbone(plan) or str(job.folder)
            task = shares_features(plan) or str(job.folder)
            tasks.setdefault(task, {}).setdefault(group, []).append(
                Todo(job.config, job.folder, plan)
            )
        return [
            Trainings(self.study.data, tuple(map(tuple, groups.values())), draw)
            for groups in tasks.values()
        ]

    def _take_over(self, job: Job, digest: str) -> None:
        if self._beside is None:
            self._beside = {}
            for file in self.study.folder.parent.glob("*/*/seed-*/result.json"):
                found = Record(file.parent)
                if self.study.folder not in found.folder.parents:
                    self._beside[found.config["digest"]] = found.folder
        origin = self._beside.get(digest)
        if origin is None:
            return
        make_folder(job.folder.parent)
        aside = Path(tempfile.mkdtemp(dir=job.folder.parent, prefix=".taken-"))
        shutil.copytree(origin, aside, dirs_exist_ok=True, copy_function=_link)
        aside.chmod(0o755)
        aside.rename(job.folder)
        self.study.taken_over.append((job, origin))


def _link(origin: str, copy: str) -> None:
    """Share a file's content where the disk can: records are replaced, never written into."""
    try:
        os.link(origin, copy)
    except OSError:
        shutil.copy2(origin, copy)


def run_study(
    study: Study,
    accountant: Accountant,
    execute: Execute,
    *,
    draw: Draw | None = None,
    on_outcome: Callable[[Job], object] = lambda job: None,  # noqa: ARG005
) -> None:
    """Run what is not done; a run that fails is written down and does not stop the others.

    Args:
        study: As planned, and looked at by the accountant.
        draw: Draws the figures of a finished run; None draws none.

    Raises:
        RunError: If the study's folder cannot be written, or holds other runs.
    """
    clear_unfinished(make_folder(study.folder))
    write_study(study)
    own_starts = {id(job.needs) for job in study.jobs if job.needs is not None}
    first = [*study.before, *(job for job in study.jobs if id(job) in own_starts)]
    rest = [job for job in study.jobs if id(job) not in own_starts]
    for wave in (first, rest):
        waiting: list[Job] = []
        for job in wave:
            if job.needs is not None and not Record(job.needs.folder).is_complete:
                job.state, job.error = "failed", f"{job.needs.name} it starts from was not finished"
                on_outcome(job)
            else:
                waiting.append(job)
        accountant.look(waiting)
        by_folder = {job.folder: job for job in waiting}
        for outcomes in execute(accountant.tasks(waiting, draw)):
            for outcome in outcomes:
                job = by_folder[outcome.folder]
                job.state = "done" if outcome.error is None else "failed"
                job.error = outcome.error
                on_outcome(job)
            write_study(study)
    for job, _ in study.taken_over:
        if draw is not None:
            draw(Record(job.folder), job.config.figures)
    write_study(study)


def write_study(study: Study) -> None:
    """Write study.json: what the study is, and how far it is."""
    content = {
        "study": study.name,
        "data": study.data,
        "called": study.called,
        "network": study.network,
        "seeds": study.seeds,
        "overrides": dict(study.overrides),
        "missing": study.missing,
        "spec": study.spec.model_dump(mode="json"),
        "runs": [
            {"arm": job.arm, "seed": job.seed, "folder": job.name, "state": job.state}
            | ({"error": job.error} if job.error else {})
            for job in study.jobs
        ],
    }
    write_json(study.folder / "study.json", content)
