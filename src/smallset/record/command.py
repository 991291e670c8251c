"""Settings as words of the command line."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from smallset.settings import flat

FLAGS = {  # of `smallset train`
    "recipe": "--recipe", "model": "--model", "loss": "--loss", "epochs": "--epochs",
    "lr": "--lr", "seed": "--seed",
    "image_size": "--image-size", "batches.size": "--batch-size", "weights": "--weights",
    "teacher": "--teacher",
    "data.classes": "--classes", "data.train_on": "--train-on", "data.noise_rate": "--noise",
    "data.noise_seed": "--noise-seed", "data.folds": "--folds", "data.repeats": "--repeats",
}  # fmt: skip


def setting_text(value: Any) -> str:
    """Return the value of a setting as the command line takes it.

    Example:
        >>> setting_text(None), setting_text([10, 15])
        ('none', '[10, 15]')
    """
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def set_option(name: str, value: Any) -> list[str]:
    """Return the words that set one thing on the command line."""
    return ["--set", f"{name}={setting_text(value)}"]


BEST_FLAGS = {name: FLAGS[name] for name in ("seed", "data.classes", "data.folds")} | {
    "compute.device": "--device",
    "data.skip_unreadable": "--skip-unreadable", "data.skip_empty": "--skip-empty",
}  # fmt: skip


def best_command(asked: Mapping[str, Any], out: str = "NEW") -> str | None:
    """Return the command line of a search; None where only Python could ask for its settings.

    Args:
        asked: As best.json has it.
    """
    words = ["smallset", "best", asked["data"], "--out", out, "--minutes", f"{asked['minutes']:g}"]
    if asked["networks"]:
        words += ["--networks", ",".join(asked["networks"])]
    for name, value in flat(asked["settings"]).items():
        if name not in BEST_FLAGS:
            return None
        if value is not False:
            words += [BEST_FLAGS[name], *([] if value is True else [setting_text(value)])]
    return shlex.join(words)


def join_command(joined: Mapping[str, Any], data: str, out: str) -> str:
    """Return the command line that joins runs again.

    Args:
        joined: As config.json has it.
        data: Where their images are.
    """
    words = ["smallset", "join", *(member["folder"] for member in joined["members"])]
    if joined["fitted_on"] is None:  # the temperatures were given
        words += ["--temperatures", ",".join(str(m["temperature"]) for m in joined["members"])]
    return shlex.join([*words, "--data", data, "--out", out])
