"""Run what of a study is not done yet, and keep account of it in study.json."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from smallset.compare.execute import Draw, Outcome, Task, Todo, Trainings
from smallset.compare.spec import read_study_json
from smallset.compare.study import Job, Study
from smallset.data.prepare import DataSource
from smallset.errors import DataError, RunError
from smallset.files import clear_unfinished, make_folder, naming_full_disk, write_json
from smallset.own_code import places
from smallset.progress import Reporter
from smallset.record.record import SUMMED, Record
from smallset.settings import differences
from smallset.words import counted

Execute = Callable[[Sequence[Task]], Iterator[list[Outcome]]]
"""Runs tasks and yields how the runs of each ended: `execute` with its choices made."""


class Accountant:
    """Knows what of a study is done, by the digests of the records.

    Args:
        study: The study; the states of its jobs are kept up to date.
        reporter: Told what a user should know, and how far decoding is.
    """

    def __init__(self, study: Study, reporter: Reporter) -> None:
        from smallset.learn.plan import Planner

        self.study, self.reporter = study, reporter
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
            job.state = "done" if record.is_over else "begun" if record.has_begun else "new"

    def look_at_kept(self) -> None:
        """Check that what stays in the study has the same settings; without weights none can tell.

        Raises:
            RunError: If it has not.
        """
        from smallset.compare.network import missing_weights

        kept = [job for job in self.study.kept if job.state == "done"]
        untold = missing_weights(self.study.spec, self.study.overrides) if kept else {}
        self.look([job for job in kept if job.arm not in untold])

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
            Trainings(self.study.data, tuple(map(tuple, groups.values())), draw, places())
            for groups in tasks.values()
        ]

    def _found_beside(self) -> dict[str, Path]:
        """Return the finished runs of the studies beside this one, by their digests."""
        known: dict[str, Path] = {}
        unread: list[str] = []
        for file in self.study.folder.parent.glob("*/*/seed-*/result.json"):
            found = Record(file.parent)
            if self.study.folder in found.folder.parents:
                continue
            try:
                known[found.config["digest"]] = found.folder
            except DataError as error:  # it is for the other study to refuse it
                unread.append(str(error))
        if unread:
            self.reporter.note(
                f"{counted(len(unread), 'run')} of studies beside this one cannot be read, and "
                f"would be trained again where this study has the same; the first: {unread[0]}"
            )
        return known

    def _take_over(self, job: Job, digest: str) -> None:
        if self._beside is None:
            self._beside = self._found_beside()
        origin = self._beside.get(digest)
        if origin is None:
            return
        try:
            for name in SUMMED:
                Record(origin).file(name)
        except DataError as error:
            del self._beside[digest]
            self.reporter.note(f"the same run as {job.name} is not taken over: {error}")
            return
        aside = make_folder(job.folder.parent) / f".taken-{job.folder.name}"
        shutil.rmtree(aside, ignore_errors=True)  # of a study that was killed here
        with naming_full_disk(job.folder.parent):
            shutil.copytree(origin, aside, copy_function=_link)
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
    """Write study.json: what the study is, and how far it is; what was looked at stays."""
    file = study.folder / "study.json"
    before = read_study_json(study.folder) if file.exists() else {}
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
            for job in sorted(study.jobs + study.kept, key=lambda job: job.seed)
        ],
        "comparisons": before.get("comparisons", []),
    }
    write_json(file, content)
