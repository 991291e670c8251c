"""A record as files that run without smallset, written only where they answer as it does."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from smallset.data.out import taken
from smallset.errors import RunError
from smallset.files import naming_full_disk
from smallset.models.restore import changed_code, restore
from smallset.progress import Reporter
from smallset.record.doubt import read_temperature
from smallset.record.record import Record
from smallset.use import hub_folder, offline_page, onnx_files
from smallset.use.onnx_check import Parity, sample_of
from smallset.use.onnx_model import Shipped
from smallset.use.shipment import Shipment, Written
from smallset.words import Lang


class Format(NamedTuple):
    """A way to write a record."""

    write: Callable[[Shipment, Path], Written]
    files: tuple[str, ...]
    """Names of what it writes."""


FORMATS = {
    "onnx": Format(onnx_files.write_onnx, onnx_files.FILES),
    "page": Format(offline_page.write_page, offline_page.FILES),
    "hf": Format(hub_folder.write_hub_folder, hub_folder.FILES),
}


@dataclass(frozen=True)
class Exported:
    """What an export left, and how near it is to the network."""

    folder: Path
    files: tuple[Path, ...]
    parity: Parity | None
    """None where it holds no graph."""
    said: tuple[str, ...]
    """What was found, as sentences."""


def export_record(
    record: Record,
    out: Path,
    file_format: str,
    *,
    data: str | None,
    runtime: Path | None,
    lang: Lang,
    own_code: bool,
    force: bool,
    reporter: Reporter,
) -> Exported:
    """Write a record in a format, once what it answers is what the network answers.

    Everything between pixels and probabilities is inside: resize, normalisation, the mirror image
    where the run averages it, the temperature, softmax. All compute in float32.

    Args:
        out: Folder for the files.
        file_format: A key of `FORMATS`.

    Raises:
        ConfigError: If the network is own code and that is not allowed, or does not go with the
            format.
        DataError: If the record is damaged, or `data` cannot be read.
        RunError: If `out` is a record or lies in the data, files are there already, a graph cannot
            be made, or one answers differently.
    """
    network, preprocessing, _ = restore(record, own_code=own_code)
    for change in changed_code(record):
        reporter.note(change.say("en"))
    if _is_record(out):
        raise RunError(
            f"{out} is a record, whose files an export would replace; give another folder as --out"
        )
    chosen = FORMATS[file_format]
    with taken(out, data or record.config["data"]["source"]):
        aside = out / f".export-{file_format}"
        there = [out / file for file in chosen.files if (out / file).exists()]
        # Beside that folder are files of an export that was killed while it moved them.
        if there and not force and not aside.exists():
            raise RunError(
                f"{there[0]} is there already; name another folder with --out, or --force"
            )
        temperature = read_temperature(record.model).value
        shipped = Shipped(network, preprocessing, temperature).eval()
        sample = sample_of(record, data)
        shipment = Shipment(record, shipped, preprocessing, sample, data, lang, runtime, reporter)
        with _emptied(aside), naming_full_disk(out):
            written = chosen.write(shipment, aside)
            for file in written.files:
                (aside / file).replace(out / file)
    files = tuple(out / file for file in written.files)
    said = tuple(each.say("en") for each in written.said)
    return Exported(out, files, written.parity, said)


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Make a folder without what an export that was killed left in it, and remove it at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_record(folder: Path) -> bool:
    """Return whether a folder holds a run, finished or begun; an export has a config.json too."""
    record = Record(folder)
    if record.is_complete or not record.has_begun:
        return record.is_complete
    try:
        held = json.loads((folder / "config.json").read_bytes())
    except ValueError:
        return False
    return isinstance(held, dict) and "digest" in held
