"""Runs as MLflow keeps them: in a SQLite file, `mlflow.db`, beside the runs."""

import hashlib
import logging
import os
import shlex
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from smallset.errors import ConfigError, need
from smallset.record.command import setting_text
from smallset.show.logged import Logged, LoggedStudy, study_tables

ENDS = {"failed": "FAILED", "stopped": "KILLED"}
KEY = "smallset.run"
"""Tag by which a run is found again: its place and its digest."""
PER_CALL = 100
"""Parameters, or epochs, in one call: MLflow's limits are 100 and 1,000 metrics."""


@dataclass
class _Held:
    """A run of the store."""

    id: str
    epochs: int = 0
    """How many are logged."""
    has_settings: bool = False
    is_done: bool = False


class Mlflow:
    """MLflow's store beside a folder of runs, or the one that ``MLFLOW_TRACKING_URI`` names.

    Raises:
        ConfigError: If the extra `mlflow` is not installed, or the store cannot be used.
    """

    def __init__(self, runs: Path) -> None:
        self.require()
        # It would report its use over the network.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow = import_module("mlflow")
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.entities = import_module("mlflow.entities")
        self.runs = runs.absolute()
        self.uri = _uri(runs)
        try:
            self.client: Any = mlflow.MlflowClient(tracking_uri=self.uri)
            self.experiment = self._experiment()
        except ConfigError:
            raise
        except Exception as error:  # the store's own are of any kind
            raise ConfigError(f"--log mlflow: cannot use {self.uri}: {error}") from error
        self.held: dict[str, _Held] = {}
        self.study: str | None = None
        """The run of the study that runs belong to."""

    @staticmethod
    def require() -> None:
        """Refuse to go on without the extra.

        Raises:
            ConfigError: If it is not installed.
        """
        # mlflow-skinny has the package's name, and no store that lies in a file.
        need("--log mlflow", "mlflow", "mlflow", "sqlalchemy", "alembic", "flask")

    @staticmethod
    def look(runs: Path) -> str:
        """Return the command that shows them, or the address of the server that does."""
        uri = _uri(runs)
        if uri.startswith(("http://", "https://")):
            return uri
        return shlex.join(["mlflow", "ui", "--backend-store-uri", uri])

    def log_run(self, run: Logged) -> None:
        """See `smallset.show.loggers.Logger`."""
        held = self.held.get(run.place) or self._find(run) or self._create(run)
        self.held[run.place] = held
        if held.is_done:
            return
        self._log_settings(held, run)
        for start in range(held.epochs, len(run.epochs), PER_CALL):
            steps = range(start, min(start + PER_CALL, len(run.epochs)))
            self.client.log_batch(
                held.id,
                metrics=[each for step in steps for each in self._metrics(run, step)],
            )
            held.epochs = steps.stop
        if run.is_finished:
            self._finish(held, run)
        elif run.ended:
            self.client.set_terminated(held.id, ENDS[run.ended])

    def _metrics(self, run: Logged, step: int) -> list[Any]:
        at = round(1000 * run.at(step))
        return [self.entities.Metric(k, v, at, step) for k, v in run.epochs[step].items()]

    def _finish(self, held: _Held, run: Logged) -> None:
        there = self.client.get_run(held.id).data.metrics
        at, step = round(1000 * run.finished), max(0, len(run.epochs) - 1)
        last = [self.entities.Metric(k, v, at, step) for k, v in run.result.items()]
        self.client.log_batch(held.id, metrics=[each for each in last if each.key not in there])
        self._add_files(held.id, run.record.folder, run.files)
        self.client.set_terminated(held.id, "FINISHED", at)
        held.is_done = True

    def _find(self, run: Logged) -> _Held | None:
        """Return the run of the store that holds the beginning of a run, and nothing else."""
        losses = [line["train_loss"] for line in run.epochs]
        for found in self._tagged(self._key(run.place, run.about["digest"])):
            history = self.client.get_metric_history(found.info.run_id, "train_loss")
            there = [each.value for each in sorted(history, key=lambda each: each.step)]
            if there != losses[: len(there)]:
                continue
            is_done = found.info.status == "FINISHED"
            if not is_done:
                self.client.update_run(found.info.run_id, status="RUNNING")
            return _Held(found.info.run_id, len(there), is_done)
        return None

    def _create(self, run: Logged) -> _Held:
        tags = {f"smallset.{name}": value for name, value in run.about.items()}
        tags |= {"mlflow.source.type": "LOCAL", "mlflow.source.name": str(self.runs / run.place)}
        tags |= {KEY: self._key(run.place, run.about["digest"])}
        name = run.place
        if self.study is not None:
            arm, seed = Path(run.place).parts[-2:]
            tags |= {"mlflow.parentRunId": self.study}
            tags |= {"arm": arm, "seed": seed.removeprefix("seed-")}
            name = f"{arm}/{seed}"
        return _Held(self._new(name, tags, round(1000 * run.began)))

    def _log_settings(self, held: _Held, run: Logged) -> None:
        """Log the settings that the store has not: it may have failed among them."""
        if held.has_settings:
            return
        there = self.client.get_run(held.id).data.params
        missing = {name: value for name, value in run.settings.items() if name not in there}
        params = [self.entities.Param(k, setting_text(v)) for k, v in missing.items()]
        for start in range(0, len(params), PER_CALL):
            self.client.log_batch(held.id, params=params[start : start + PER_CALL])
        held.has_settings = True

    def begin_study(self, place: str) -> None:
        """See `smallset.show.loggers.Logger`."""
        key = self._key(place)
        for found in self._tagged(key):
            self.study = found.info.run_id
            self.client.update_run(self.study, status="RUNNING")
            return
        source = {"mlflow.source.type": "LOCAL", "mlflow.source.name": str(self.runs / place)}
        self.study = self._new(place, {KEY: key, **source}, None)

    def end_study(self, study: LoggedStudy) -> None:
        """See `smallset.show.loggers.Logger`."""
        assert self.study is not None
        if study.summary is not None:
            said = study_tables(study.summary)
            self.client.set_tag(self.study, "mlflow.note.content", said)
            self._add_files(self.study, study.summary.folder, study.files)
        self.client.set_terminated(self.study, ENDS.get(study.ended, "FINISHED"))

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name("smallset")
        # Without a place, files would go into the current folder.
        is_own = not os.environ.get("MLFLOW_TRACKING_URI")
        files = self.runs / "mlflow-artifacts"
        place = files.as_uri() if is_own else None
        if found is not None:
            if found.lifecycle_stage == "deleted":
                raise ConfigError(
                    f"--log mlflow: the experiment 'smallset' of {self.uri} was deleted; restore "
                    f"it (mlflow experiments restore -x {found.experiment_id}), or log elsewhere"
                )
            kept = urlsplit(found.artifact_location)
            is_file = is_own and kept.scheme in ("", "file")
            if is_file and Path(unquote(kept.path)).resolve() != files.resolve():
                raise ConfigError(
                    f"--log mlflow: {self.uri} was moved, and would keep files at its old place "
                    f"({found.artifact_location}); move mlflow.db away, so that a new one is made"
                )
            return found.experiment_id
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return self.client.create_experiment("smallset", artifact_location=place, tags=tags)

    def _new(self, name: str, tags: dict[str, str], began: int | None) -> str:
        new = self.client.create_run(self.experiment, start_time=began, tags=tags, run_name=name)
        return new.info.run_id

    def _tagged(self, key: str) -> list[Any]:
        return self.client.search_runs(
            [self.experiment], f"tags.`{KEY}` = '{key}'", order_by=["attributes.start_time DESC"]
        )

    def _key(self, place: str, digest: str = "") -> str:
        # A store of its own names runs from beside them; one that is shared tells folders apart.
        # A machine's name is no part: a container has another each time it goes on with a run.
        shared = bool(os.environ.get("MLFLOW_TRACKING_URI"))
        whole = str(self.runs / place) if shared else place
        return hashlib.sha256(f"{whole}\n{digest}".encode()).hexdigest()[:32]

    def _add_files(self, run: str, folder: Path, files: list[Path]) -> None:
        for file in files:
            inside = None if file.parent == Path() else file.parent.as_posix()
            self.client.log_artifact(run, str(folder / file), inside)


def _uri(runs: Path) -> str:
    if named := os.environ.get("MLFLOW_TRACKING_URI"):
        return named
    for odd in "%?":  # they would be read as a part of the address, and another file be opened
        if odd in str(runs.absolute()):
            raise ConfigError(
                f"--log mlflow keeps its database in {runs.absolute()}, whose name holds {odd!r}, "
                "which its address cannot; give another --out"
            )
    return f"sqlite:///{runs.absolute() / 'mlflow.db'}"
