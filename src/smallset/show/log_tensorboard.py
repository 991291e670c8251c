"""Runs as TensorBoard reads them: event files, in `tensorboard/` beside the runs."""

import shlex
import warnings
from pathlib import Path
from typing import Any

from smallset.errors import need
from smallset.record.command import setting_text
from smallset.show.logged import Logged, LoggedStudy, study_tables

EVENTS = "events.out.tfevents.*"


class TensorBoard:
    """The event files beside a folder of runs.

    Those of a run are written anew when it is first seen, so that no epoch is there twice.

    Raises:
        ConfigError: If the extra `tensorboard` is not installed.
    """

    def __init__(self, runs: Path) -> None:
        self.require()
        self.folder = runs / "tensorboard"
        self.writers: dict[str, Any] = {}
        self.steps: dict[str, int] = {}
        self.finished: set[str] = set()

    @staticmethod
    def require() -> None:
        """Refuse to go on without the extra.

        Raises:
            ConfigError: If it is not installed.
        """
        need("--log tensorboard", "tensorboard", "tensorboard")

    @staticmethod
    def look(runs: Path) -> str:
        """Return the command that shows them."""
        return shlex.join(["tensorboard", "--logdir", str(runs / "tensorboard")])

    def log_run(self, run: Logged) -> None:
        """See `smallset.show.loggers.Logger`."""
        if run.place in self.finished:
            return
        writer = self.writers.get(run.place) or self._begin(run.place)
        for step in range(self.steps.setdefault(run.place, 0), len(run.epochs)):
            for name, value in run.epochs[step].items():
                writer.add_scalar(name, value, step, walltime=run.at(step))
        self.steps[run.place] = len(run.epochs)
        if run.is_finished:
            self._add_result(writer, run)
            self.finished.add(run.place)
        writer.flush()
        if run.is_finished or run.ended:
            self._close(run.place)

    def _add_result(self, writer: Any, run: Logged) -> None:
        from torch.utils.tensorboard.summary import hparams

        for name, value in run.result.items():
            writer.add_scalar(name, value, len(run.epochs) - 1, walltime=run.finished)
        plain = {
            name: value if isinstance(value, bool | int | float | str) else setting_text(value)
            for name, value in run.settings.items()
        }
        for summary in hparams(plain, run.result):  # add_hparams would make a run of its own
            writer.file_writer.add_summary(summary, walltime=run.began)

    def begin_study(self, place: str) -> None:
        """See `smallset.show.loggers.Logger`; folders are what belongs together here."""

    def end_study(self, study: LoggedStudy) -> None:
        """See `smallset.show.loggers.Logger`."""
        if study.summary is not None:
            self._begin(study.place).add_text("study", study_tables(study.summary))
            self._close(study.place)

    def _begin(self, place: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its dependencies
            from torch.utils.tensorboard import SummaryWriter

        folder = self.folder / place
        for old in folder.glob(EVENTS):
            old.unlink()
        self.writers[place] = SummaryWriter(str(folder))
        return self.writers[place]

    def _close(self, place: str) -> None:
        self.writers.pop(place).close()
        self.steps.pop(place, None)
