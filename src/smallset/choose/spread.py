"""Judge the heads of several networks at a time: in processes, or on a Ray cluster."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from smallset.choose.candidates import Heads
from smallset.compare.execute import Outcome, Resources, find_execution
from smallset.config import RunConfig
from smallset.errors import RunError, SmallsetError
from smallset.progress import Reporter


@dataclass(frozen=True)
class Judging:
    """A head on one network, judged in whichever process; a `smallset.compare.execute.Task`."""

    data: str
    networks: dict[str, str]
    config: RunConfig
    folder: Path
    name: str

    @property
    def heads(self) -> Heads:
        """Where the answer is looked for, and written."""
        return Heads(self.data, self.networks, self.config, self.folder, Reporter())

    def run(self) -> list[Outcome]:
        """Judge it, unless that was done."""
        heads = self.heads
        error = None
        try:
            heads.open()
            heads.judge(self.name)
        except SmallsetError as problem:
            error = str(problem)
        except Exception:  # noqa: BLE001  a defect in one network is shown, and the others go on
            error = traceback.format_exc()
        return [Outcome(heads.file(self.name), error)]

    def failed(self, why: str) -> list[Outcome]:
        """Return that it could not be judged."""
        return [Outcome(self.heads.file(self.name), why)]

    def elsewhere(self) -> "Judging":
        """Return the same: it looks at the images itself."""
        return self


Spread = Callable[[Heads, str, Sequence[str]], None]
"""Judges networks of a data set at a time; their answers stay in the folder of the heads."""


def spread_by(execute: str, resources: Resources) -> Spread:
    """Return what judges networks in a way of execution.

    Raises:
        ConfigError: If there is no way of that name.
    """
    execution = find_execution(execute)

    def spread(heads: Heads, data: str, names: Sequence[str]) -> None:
        tasks = [
            Judging(data, heads.networks, heads.config, heads.folder, name)
            for name in names
            if not heads.file(name).exists()
        ]
        done = 0
        for outcomes in execution(tasks, resources):
            for outcome in outcomes:
                if outcome.error is not None:
                    raise RunError(f"{outcome.folder.stem} could not be judged: {outcome.error}")
                done += 1
                heads.reporter.counted("judging", done, len(tasks), "networks")

    return spread
