"""Where a command writes that is not told: runs/<name>-<n>, and never over what is there."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from smallset.errors import DataError, RunError
from smallset.files import given_path

RUNS = Path("runs")


def data_name(data: str) -> str:
    """Return what data is called in the name of a folder.

    Example:
        >>> data_name("pictures/birds/"), data_name("birds.csv"), data_name("sample:shapes,seed=3")
        ('birds', 'birds', 'shapes')
    """
    kind, _, name = data.partition(":")
    if kind in ("sample", "torchvision") and name:
        return re.sub(r"\W", "-", name.partition(",")[0])
    path = Path(os.path.abspath(given_path(data)))  # noqa: PTH100  a link keeps its name
    name = path.name if path.is_dir() else path.stem
    return name.lstrip(".") or "data"


def place(name: str, goes_on: Callable[[Path], bool] = lambda _: False) -> Path:
    """Return the newest of runs/<name>-1, -2, ... that goes on, or the one behind the last.

    Args:
        name: As `data_name` has it.
        goes_on: Whether a folder holds something that this command is to go on with.
    """
    numbered = re.compile(re.escape(name) + r"-([1-9]\d{0,8})")
    there = [path.name for path in RUNS.iterdir()] if RUNS.is_dir() else []
    numbers = sorted(int(found[1]) for each in there if (found := numbered.fullmatch(each)))
    for number in reversed(numbers):
        if goes_on(RUNS / f"{name}-{number}"):
            return RUNS / f"{name}-{number}"
    return RUNS / f"{name}-{max([0, *numbers]) + 1}"


def train_place(data: str, *, resume: bool) -> Path:
    """Return where `train` leaves a run; with `resume`, where it left the last one.

    With `resume`, one that is not finished goes before all that are.

    Raises:
        RunError: If there is none to resume.
    """
    if not resume:
        return place(data_name(data))

    def is_of_train(folder: Path) -> bool:
        return (folder / "config.json").exists() and not (folder / "best.json").exists()

    def goes_on(folder: Path) -> bool:
        return is_of_train(folder) and not (folder / "result.json").exists()

    found = place(data_name(data), goes_on)
    if not found.exists():
        found = place(data_name(data), is_of_train)
    if not found.exists():
        raise RunError(
            f"there is no {RUNS / data_name(data)}-<n> with a run to resume; name its folder with "
            "--out, or train without --resume"
        )
    return found


def best_place(data: str, minutes: float, networks: Sequence[str], settings: Any) -> Path:
    """Return where `best` goes on with a search that was asked for the same, or begins one."""
    from smallset.choose.asked import asked_of, is_stopped

    asked = asked_of(data, minutes, networks, settings)

    def goes_on(folder: Path) -> bool:
        try:
            return is_stopped(folder, asked)
        except DataError:  # of another search, for all that can be known
            return False

    return place(data_name(data), goes_on)


def study_place(study: str, data: str, network: str) -> Path:
    """Return runs/<study>, or of runs/<study>-2, ... the first with the same data or none.

    A study goes on where it is: seeds are added to it, and studies of other names start from its
    runs. So it has the plain name, as it had before others were numbered.

    Args:
        study: A study that comes with smallset, or a TOML file.
        network: "NAME" or "NAME=FILE"; empty where the study's own are taken.
    """
    from smallset.compare.spec import WRITTEN, read_study, read_study_json

    path = given_path(data)
    source = str(path.absolute()) if path.exists() else data
    name, _ = read_study(study)
    folder, number = RUNS / name, 1
    while folder.exists():
        if (folder / "study.json").exists():
            held = read_study_json(folder)
            other = held.get("network", "").partition("=")[0] != network.partition("=")[0]
            if (held["study"], held["data"]) == (name, source) and not other:
                break
        elif folder.is_dir() and not {each.name for each in folder.iterdir()} & WRITTEN:
            break  # runs that other studies start from
        number += 1
        folder = RUNS / f"{name}-{number}"
    return folder


def say_place(out: Path, data: str, reporter: Any) -> None:
    """Say where what was not told goes, once there is something that can go there.

    Raises:
        DataError: If there is no such data.
    """
    from smallset.data.read import refuse_missing

    refuse_missing(data)
    does = "goes on in" if out.exists() else "goes into"
    reporter.line(f"no --out was given: this {does} {out}")
