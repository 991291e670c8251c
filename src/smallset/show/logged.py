"""What of a record, and of a study, goes into the store of another tool."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from smallset import contents
from smallset.reading import read_json_lines
from smallset.record.record import FIX, Record
from smallset.settings import flat

if TYPE_CHECKING:
    from smallset.compare.summary import Summary

Ended = Literal["", "failed", "stopped"]
LINE = ("lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")
"""Metrics of an epoch, named as in epochs.jsonl."""


@dataclass(frozen=True)
class Logged:
    """A run as it is on disk when it is asked for."""

    place: str
    """Its folder, seen from the folder of runs: "first", or "losses/plain/seed-0"."""
    record: Record
    ended: Ended = ""
    """How a run ended that is not finished; "" while it goes on."""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Return every setting by its dotted name."""
        return flat(self.record.config["config"])

    @cached_property
    def epochs(self) -> list[dict[str, float]]:
        """Return the metrics of each epoch; their step is the place in this list."""
        path = self.record.folder / "epochs.jsonl"
        if not path.exists():
            return []
        lines = read_json_lines(path, contents.Epoch, fix=FIX)
        return [
            {name: line[name] for name in LINE if line[name] is not None}
            | ({"stage": line["stage"]} if line["stage"] else {})
            for line in lines
        ]

    @property
    def result(self) -> dict[str, float]:
        """Return what is known at the end of a run, from the weights that were kept."""
        result = self.record.result
        shares = {
            "final_train_accuracy": result["train_accuracy"],
            "final_val_accuracy": result["val_accuracy"],
        }
        folds = result.get("folds", {})
        if not folds:  # of folds, each image is answered by networks that have not seen it
            shares["test_accuracy"] = result["test_accuracy"]
        shares |= {f"folds_{name}": folds.get(name) for name in ("accuracy", "low", "high")}
        return {name: share for name, share in shares.items() if share is not None}

    @property
    def about(self) -> dict[str, str]:
        """Return what a run is of, beside its settings."""
        config = self.record.config
        return {
            "data": config["data"]["source"],
            "fingerprint": config["data"]["fingerprint"],
            "digest": config["digest"],
            "device": config["device"],
            "smallset": config["versions"]["smallset"],
        }

    @property
    def files(self) -> list[Path]:
        """Return the files of the record, relative to its folder."""
        return files_of(self.record.folder, "**/*")

    @property
    def is_finished(self) -> bool:
        """Return whether nothing more comes; one stopped while its page is drawn lacks files."""
        return self.record.is_complete and not self.ended

    @cached_property
    def began(self) -> float:
        """Return when training began, in seconds since 1970; pauses of a stopped run left out.

        It is counted back from the last epoch: `--resume` writes the settings anew.
        """
        epochs = self.record.folder / "epochs.jsonl"
        if not self.epochs:
            return (self.record.folder / "config.json").stat().st_mtime
        return epochs.stat().st_mtime - sum(line["seconds"] for line in self.epochs)

    def at(self, step: int) -> float:
        """Return when an epoch ended, in seconds since 1970, as `began` has it."""
        return self.began + sum(line["seconds"] for line in self.epochs[: step + 1])

    @property
    def finished(self) -> float:
        """Return when the result was written, in seconds since 1970."""
        return (self.record.folder / "result.json").stat().st_mtime


@dataclass(frozen=True)
class LoggedStudy:
    """A study that has ended."""

    place: str
    """Its folder, seen from the folder of runs."""
    summary: "Summary | None" = None
    """What it found; None where it did not come to its end."""
    ended: Ended = ""

    @property
    def files(self) -> list[Path]:
        """Return its tables, figures and page, relative to its folder; runs have their own."""
        return files_of(self.summary.folder, "*", "figures/*") if self.summary else []


def files_of(folder: Path, *patterns: str) -> list[Path]:
    """Return files relative to their folder, without hidden ones."""
    found = [path.relative_to(folder) for each in patterns for path in folder.glob(each)]
    shown = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    return sorted(path for path in shown if (folder / path).is_file())


def study_tables(summary: "Summary") -> str:
    """Return the tables of a study as Markdown."""
    lines = [
        f"**{summary.spec.title}**", "", summary.spec.about, "",
        "| arm | seeds | test accuracy | 95% interval |", "|---|---|---|---|",
    ]  # fmt: skip
    for arm in summary.arms:
        share, low, high = (f"{each:.1%}" for each in arm.accuracy[:3])
        lines.append(f"| {_cell(arm.name)} | {len(arm.seeds)} | {share} | {low} to {high} |")
    if summary.comparisons:
        lines += ["", "| arm | against | points, 95% interval | verdict |", "|---|---|---|---|"]
    for arm, against, _, found in summary.comparisons:
        value, low, high = (f"{100 * each:+.1f}" for each in found.difference)
        pair = f"{_cell(arm)} | {_cell(against)}"
        lines.append(f"| {pair} | {value} ({low} to {high}) | {found.verdict} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
