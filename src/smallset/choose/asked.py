"""What a search is asked for, what it would not read, and whether one that is there is the same."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smallset import contents
from smallset.config import RunConfig
from smallset.errors import ConfigError, RunError
from smallset.reading import read_json
from smallset.settings import flat

SEARCH = ".search"  # in the record, while the search goes on
READ = ("seed", "balance", "image_size", "data", "compute", "figures")
"""Settings and groups that a search reads; all others, and these of data, it chooses or does."""
NOT_READ = ("data.train_on", "data.clean")


def asked_of(
    data: str | Path, minutes: float, networks: Sequence[str], config: RunConfig
) -> dict[str, Any]:
    """Return what a search was asked for, as its files keep it; figures do not change it."""
    settings = config.model_dump(mode="json", exclude_unset=True, exclude={"figures"})
    named = {"minutes": minutes, "networks": list(networks), "data": os.path.normpath(data)}
    return {**named, "settings": settings}


def refuse_unread(config: RunConfig) -> None:
    """Refuse settings that a search would not read, or not in all that it does.

    Raises:
        ConfigError: If there is one; names it, and what is read.
    """
    # One that stands at its default counts too: head="sgd" is another head than recipes choose.
    unread = [
        name
        for name, value in flat(config.model_dump(mode="json", exclude_unset=True)).items()
        if name in NOT_READ or (name.partition(".")[0] not in READ and value != "auto")
    ]
    if not unread:
        return
    raise ConfigError(
        f"best does not read {', '.join(unread)}: it chooses networks, recipes and what is learnt "
        f"from by itself, and reads {', '.join(READ)} (not {' and '.join(NOT_READ)}); leave the "
        "others out, or train with them (smallset train); labels are cleaned before (smallset "
        "clean)"
    )


def refuse_other(folder: Path, known: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse to go on with a search that was asked for something else, and say what that is."""
    if known == asked:
        return
    before, now = flat(known), flat(asked)
    unlike = [
        f"{name.removeprefix('settings.')} {before.get(name)}, not {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    raise RunError(
        f"{folder} holds another search ({'; '.join(unlike)}); give another --out, or ask for the "
        "same"
    )


def is_stopped(folder: Path, asked: Mapping[str, Any]) -> bool:
    """Whether a folder holds a search for the same that is not at its end."""
    file = folder / SEARCH / "search.json"
    if (folder / "best.json").exists() or not file.exists():
        return False
    return read_json(file, contents.Search)["asked"] == asked
