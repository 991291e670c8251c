"""Runs in the stores of other tools, beside the folder of runs.

What is logged is the record as it is on disk: while it grows, once it is finished, or years later.
A store that holds a part of it already gets the rest.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from smallset.errors import ConfigError, RunError, suggest
from smallset.progress import Reporter
from smallset.record.record import Record
from smallset.show.log_mlflow import Mlflow
from smallset.show.log_tensorboard import TensorBoard
from smallset.show.logged import Ended, Logged, LoggedStudy

if TYPE_CHECKING:
    from smallset.compare.summary import Summary

Names = str | Sequence[str]


class Logger(Protocol):
    """A store of runs."""

    def log_run(self, run: Logged) -> None:
        """Bring a run up to what is on disk."""
        ...

    def begin_study(self, place: str) -> None:
        """Take the runs that follow as those of a study."""
        ...

    def end_study(self, study: LoggedStudy) -> None:
        """Keep what a study found, or that it did not come to its end."""
        ...


LOGGERS: dict[str, Any] = {"mlflow": Mlflow, "tensorboard": TensorBoard}
"""Stores by name; each is made of the folder of runs. To add one: write it, add it here."""


def check_loggers(names: Names) -> list[str]:
    """Return the names of loggers, each once; nothing is written.

    Raises:
        ConfigError: If there is none of a name, or its package is not installed.
    """
    listed = [names] if isinstance(names, str) else list(names)
    for name in listed:
        if name not in LOGGERS:
            raise ConfigError(f"--log {name}: no such logger; {suggest(name, LOGGERS)}")
        LOGGERS[name].require()
    return list(dict.fromkeys(listed))


def look(names: Names, folder: Path) -> list[str]:
    """Return the command lines that show what was logged of a run or study."""
    return [LOGGERS[name].look(folder.parent) for name in check_loggers(names)]


class Log:
    """All stores that the runs of a command go into.

    Args:
        folder: Of the run or the study; the stores lie beside it.
        note: Told once if a store cannot be written while there is more to do.

    Raises:
        ConfigError: If there is no such logger, or it is not installed or cannot be used.
    """

    def __init__(self, names: Names, folder: Path, note: Callable[[str], object]) -> None:
        self.folder, self.note = folder.absolute(), note
        self.loggers: list[Logger] = [
            LOGGERS[name](self.folder.parent) for name in check_loggers(names)
        ]
        self._trouble = False

    def run(self, folder: Path, ended: Ended = "") -> None:
        """Log a run as far as it is."""
        place = folder.absolute().relative_to(self.folder.parent).as_posix()
        self.each(lambda logger: logger.log_run(Logged(place, Record(folder), ended)))

    def each(self, action: Callable[[Logger], object]) -> None:
        """Have every store do something, also where one fails; then raise what failed first."""
        failed: list[Exception] = []
        for logger in self.loggers:
            try:
                action(logger)
            except Exception as error:  # noqa: BLE001  a store's own errors are of any kind
                failed.append(error)
        if failed:
            raise failed[0]

    def meanwhile(self, folder: Path, ended: Ended = "") -> None:
        """Log a run while there is more to do: what fails is tried again at the end."""
        try:
            self.run(folder, ended)
        except Exception as error:  # noqa: BLE001  a store's own errors are of any kind
            if not self._trouble:
                self.note(f"cannot be logged for now, and will be at the end: {error}")
            self._trouble = True

    @contextlib.contextmanager
    def last_try(self) -> Iterator[None]:
        """Say what is whole where the store cannot be written at the end.

        Raises:
            RunError: If it cannot.
        """
        try:
            yield
        except Exception as error:
            raise RunError(
                f"{self.folder} is whole, but could not be logged ({error}); the same command "
                "(train: with --resume) logs it"
            ) from error


@contextlib.contextmanager
def logged_run(names: Names, folder: Path, reporter: Reporter) -> Iterator[Reporter]:
    """Log a run, epoch by epoch; the record is the same as without.

    Gives the reporter to train with. At the end of the block, the whole record is logged.

    Raises:
        ConfigError: If there is no such logger, or it is not installed or cannot be used.
        RunError: If the finished run cannot be logged.
    """
    if not names:
        yield reporter
        return
    log, begun = Log(names, folder, reporter.note), False

    def epoch(line: Any) -> None:
        nonlocal begun
        reporter.epoch(line)
        if Record(folder).has_begun:
            begun = True
            log.meanwhile(folder)

    try:
        yield replace(reporter, epoch=epoch)
    except BaseException as error:
        if begun:
            log.meanwhile(folder, _ended(error))
        raise
    with log.last_try():
        log.run(folder)


class StudyLog:
    """Logs the runs of a study when they have ended."""

    def __init__(self, log: Log | None) -> None:
        self.log = log

    def ended(self, folder: Path, error: str | None) -> None:
        """Log a run that has ended."""
        if self.log and folder.is_relative_to(self.log.folder) and Record(folder).has_begun:
            self.log.meanwhile(folder, "failed" if error else "")

    def finish(self, summary: "Summary") -> None:
        """Log what was found, and the runs that an earlier command had finished.

        Raises:
            RunError: If it cannot be logged.
        """
        log = self.log
        if log is None:
            return
        with log.last_try():
            for arm in summary.arms:
                for record in arm.records:
                    log.run(record.folder)
            study = LoggedStudy(log.folder.name, summary)
            log.each(lambda logger: logger.end_study(study))


@contextlib.contextmanager
def logged_study(names: Names, folder: Path, note: Callable[[str], object]) -> Iterator[StudyLog]:
    """Log a study: its runs when they have ended, what it found at the end.

    Raises:
        ConfigError: If there is no such logger, or it is not installed or cannot be used.
    """
    if not names:
        yield StudyLog(None)
        return
    log = Log(names, folder, note)
    place = log.folder.name
    try:
        log.each(lambda logger: logger.begin_study(place))
    except Exception as error:
        raise ConfigError(
            f"--log: the store cannot take the study ({error}); mend that, or leave --log out"
        ) from error
    try:
        yield StudyLog(log)
    except BaseException as error:
        study = LoggedStudy(place, ended=_ended(error))
        with contextlib.suppress(Exception):  # what ended the study is what there is to say
            log.each(lambda logger: logger.end_study(study))
        raise


def _ended(error: BaseException) -> Ended:
    return "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
