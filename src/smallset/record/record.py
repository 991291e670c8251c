"""The folder that a run leaves: what is in it, how it is written and read. No torch here."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from smallset import contents
from smallset.config import RunConfig, build_config, change, override
from smallset.errors import ConfigError, DataError
from smallset.files import (
    did_you_mean,
    file_sum,
    given_path,
    html_table,
    write_arrays,
    write_atomic,
    write_json,
)
from smallset.reading import read_arrays, read_json, read_json_lines, reading
from smallset.recipes import RECIPES, suits
from smallset.record.command import FLAGS, join_command, set_option, setting_text
from smallset.record.predictions import Predictions, read_predictions
from smallset.settings import flat
from smallset.stats import share_interval

_DEFAULT = flat(RunConfig().model_dump(mode="json"))
SUMMED = ("epochs.jsonl", "predictions.csv", "embeddings.npz", "model.safetensors")
"""Files whose checksums are in result.json; JSON files hold their own."""
HELD_OUT = "held_out.csv"
CHECKPOINT = "checkpoint.safetensors"
"""What a stopped run goes on with; it goes when nothing is left to be done."""
FIX = "copy the record again from where it is whole, or train the run again"
GOVERNED = frozenset(name for recipe in RECIPES.values() for name in recipe)
"""Settings that some recipe says."""


@dataclass(frozen=True, init=False)
class Record:
    """A run on disk, read when asked for."""

    folder: Path

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open a run; nothing is read yet.

        Raises:
            ConfigError: If `folder` cannot be a path.
        """
        object.__setattr__(self, "folder", given_path(folder))

    @cached_property
    def config(self) -> dict[str, Any]:
        """Content of config.json."""
        return self._json("config.json", contents.Config)

    @property
    def joined(self) -> dict[str, Any] | None:
        """What the record was joined from by `smallset join`; None where it was trained."""
        return self.config.get("joined")

    @cached_property
    def result(self) -> dict[str, Any]:
        """Content of result.json."""
        return self._json("result.json", contents.Result)

    @cached_property
    def model(self) -> dict[str, Any]:
        """Content of model.json."""
        return self._json("model.json", contents.Model)

    @cached_property
    def settings(self) -> RunConfig:
        """The settings of the run, none left open.

        Raises:
            DataError: If there is one that this version does not know.
        """
        path = self.folder / "config.json"
        try:
            return build_config(self.config["config"])
        except ConfigError as error:
            raise DataError(f"{path} is damaged, or of another version ({error}); {FIX}") from None

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """Lines of epochs.jsonl."""
        return read_json_lines(self.file("epochs.jsonl"), contents.Epoch, fix=FIX)

    @cached_property
    def predictions(self) -> Predictions:
        """Content of predictions.csv."""
        path = self.file("predictions.csv")
        with reading(path, FIX):
            return read_predictions(path)

    @cached_property
    def held_out(self) -> Predictions | None:
        """Content of held_out.csv: answers about images that the network learnt later.

        They are of networks with the same settings, out of fold ("train") or from a training that
        had val apart ("val"). None where the record has none.
        """
        if not self.is_complete or HELD_OUT not in self.result.get("files", {}):
            return None
        path = self.file(HELD_OUT)
        with reading(path, FIX):
            return read_predictions(path)

    def embeddings(self, split: str) -> Float[ndarray, "n dim"]:
        """Return the embeddings of the images of a split, in the order of predictions.csv.

        With folds, no image is train there: those of train are of all images, for the network
        learnt from all.

        Args:
            split: "train", "val" or "test"; empty where the run had no such images.

        Raises:
            DataError: If they are not there; val of a record of an earlier version is not.
        """
        path = self.file("embeddings.npz")
        arrays, said = read_arrays(path, "train", fix=FIX), self.predictions
        of_split = int((said.splits == split).sum())
        if split not in arrays and not of_split:
            return arrays["train"][:0]
        if split not in arrays:
            raise DataError(f"{path} holds no embeddings of {split}; train the run again")
        wanted = len(said.learnt) if split == "train" else 0 if said.of_folds else of_split
        if arrays[split].ndim != 2 or len(arrays[split]) != wanted:
            raise DataError(
                f"{path} is damaged ({split} has the shape {arrays[split].shape}, for {wanted} "
                f"images); {FIX}"
            )
        return arrays[split]

    def command(
        self, changes: Mapping[str, Any] | None = None, *, out: str = "NEW", exact: bool = False
    ) -> str:
        """Return the command line that trains this run again, with settings changed.

        Joined runs are joined again as they are: they have no settings to change.

        Args:
            exact: Name the device, its arithmetic and threads too, which decide the last bits.
        """
        if self.joined is not None:
            return join_command(self.joined, self.config["data"]["source"], out)
        changes = changes or {}
        config = self.settings
        replaced = GOVERNED if "recipe" in changes else frozenset()  # another recipe says those
        if config.mirror and not RECIPES.get(config.recipe, {}).get("mirror"):
            replaced -= {"mirror"}  # asked for, not of the recipe
        config = override(config, {name: _DEFAULT[name] for name in replaced})
        config = change(config, changes)
        # What "auto" was resolved to, and what the recipe says, need not be said again.
        trains = "classifier" if self.config["weights"] else "all"
        default = {**_DEFAULT, "trains": trains, **RECIPES.get(config.recipe, {}), "recipe": "auto"}
        has_weights = bool(self.config["weights"] or config.start_from)
        if not suits(config.recipe, config.trains, has_weights=has_weights):
            default["trains"] = "auto"
        default["data.folds"] = self.config["data"].get("usual_folds", 0)
        unused = [] if config.data.noise_rate else ["data.noise_seed"]
        unused += [] if config.data.train_fraction < 1 else ["data.subset_seed"]
        words = ["smallset", "train", self.config["data"]["source"]]
        for name, value in flat(config.model_dump(mode="json")).items():
            if name in replaced:
                continue
            of_machine = name.startswith("compute.") and not exact
            if value == default[name] or of_machine or name.startswith("figures."):
                continue
            if name in unused and not exact:
                continue
            flag = FLAGS.get(name)
            words += [flag, setting_text(value)] if flag else set_option(name, value)
        return shlex.join([*words, "--out", out])

    def _repr_html_(self) -> str:
        """Show the run in a notebook."""
        if not self.is_complete:
            state = "begun, not finished" if self.has_begun else "no run"
            return html_table(["record", "state"], [[self.folder, state]])
        config, result = self.config["config"], self.result
        shares = [result[f"{split}_accuracy"] for split in ("train", "val")]
        cells = ["" if share is None else f"{share:.1%}" for share in shares]
        scored = "out of fold" if "folds" in result else "test"
        head = ["record", "model", "loss", "train", "val", f"{scored} (95% interval)", "seconds"]
        loss = "" if self.joined else config["loss"]
        row = [self.folder, config["model"], loss, *cells, self._scored(), result["seconds"]]
        return html_table(head, [row])

    def _scored(self) -> str:
        """Return the accuracy on what was not learnt from, with its interval."""
        if folds := self.result.get("folds"):
            share, low, high = (folds[name] for name in ("accuracy", "low", "high"))
        else:
            counts = self.predictions.confusion("test")
            if not counts.any():
                return ""
            share, low, high = share_interval(int(counts.trace()), int(counts.sum()))
        return f"{share:.1%} ({low:.1%} to {high:.1%})"

    @property
    def has_begun(self) -> bool:
        """Whether there is a run at all; its settings are written first."""
        return (self.folder / "config.json").exists()

    @property
    def is_complete(self) -> bool:
        """Whether the run came to its end; the result is written last."""
        return (self.folder / "result.json").exists()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done, figures among it."""
        return self.is_complete and not (self.folder / CHECKPOINT).exists()

    def file(self, name: str) -> Path:
        """Return a file of the record, unchanged since the run was finished.

        Raises:
            DataError: If it is not there, or its checksum in result.json does not fit.
        """
        path = self.folder / name
        if not path.is_file():
            raise no_run(self.folder, f"it has no {name}")
        promised = self.result.get("files", {}).get(name) if self.is_complete else None
        if promised is not None:
            with reading(path, FIX):
                if file_sum(path) != promised:
                    raise ValueError("its checksum is not the one in result.json")
        return path

    def _json(self, name: str, shape: Any) -> dict[str, Any]:
        path = self.folder / name
        if not path.is_file():
            raise no_run(self.folder, f"it has no {name}")
        return read_json(path, shape, fix=FIX)


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write result.json, the last file of a record, with the checksums of the others."""
    names = (*SUMMED, HELD_OUT) if (folder / HELD_OUT).exists() else SUMMED
    sums = {name: file_sum(folder / name) for name in names}
    write_json(folder / "result.json", {**result, "files": sums})


def no_run(folder: Path, why: str) -> DataError:
    """Return the error of a folder that is no finished run, or is not there at all.

    Args:
        why: What it lacks.
    """
    if not folder.exists():
        return DataError(f"there is no folder {folder}{did_you_mean(folder)}{runs_near(folder)}")
    return DataError(f"{folder} is not the record of a finished run: {why}{runs_near(folder)}")


def runs_near(folder: Path) -> str:
    """Say which finished runs there are, where a folder is none: in it, or in runs/."""
    there = [file.parent for at in (folder, Path("runs")) for file in at.glob("*/result.json")]
    found = {run.resolve(): run for run in there}.values()
    newest = sorted(found, key=lambda run: -(run / "result.json").stat().st_mtime)
    return f"; finished runs: {', '.join(map(str, newest[:3]))}" if newest else ""


def is_left_over(folder: Path) -> bool:
    """Whether a folder is what a run, a study or a search left, and no pictures."""
    names = ("config.json", "result.json"), ("config.json", "epochs.jsonl"), ("study.json",)
    return any(all((folder / name).is_file() for name in each) for each in names)


def write_history(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write epochs.jsonl."""
    write_atomic(folder / "epochs.jsonl", "".join(json.dumps(line) + "\n" for line in history))


def write_embeddings(folder: Path, embeddings: Mapping[str, Float[ndarray, "n dim"]]) -> None:
    """Write embeddings.npz in float16; in float32 where a value is too large for it (65,504)."""
    arrays = {}
    for split, values in embeddings.items():
        fits = np.abs(values).max(initial=0) <= np.finfo(np.float16).max
        arrays[split] = values.astype(np.float16 if fits else np.float32)
    write_arrays(folder / "embeddings.npz", **arrays)
