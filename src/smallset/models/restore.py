"""A finished run's network, and how pictures become its inputs, from its record alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file, save

from smallset.data.preprocessing import Preprocessing
from smallset.errors import ConfigError
from smallset.files import write_atomic, write_json
from smallset.models.by_name import is_own
from smallset.models.parts import Classifier
from smallset.models.registry import build_model
from smallset.models.together import together
from smallset.own_code import source_digest
from smallset.reading import reading
from smallset.record.record import FIX, Record
from smallset.words import Text, text


class Restored(NamedTuple):
    """What a record gives to whoever wants to use it."""

    model: Classifier
    """With its trained weights, in eval mode, on the CPU."""
    preprocessing: Preprocessing
    classes: tuple[str, ...]


def restore(record: Record, *, own_code: bool = False) -> Restored:
    """Build the network of a finished run with its trained weights.

    Args:
        own_code: Whether the record may name a Python function that builds it. A record is data,
            and may come from anybody: what it names is imported where its user said so, only.

    Raises:
        ConfigError: If there is no such model here, or it is own code and that is not allowed.
        DataError: If the weights are missing or do not fit.
    """
    described = record.model
    refuse_own_code(record, allowed=own_code)
    preprocessing = Preprocessing.from_json(described["preprocessing"])
    classes = tuple(described["classes"])
    model = _build(described, len(classes))
    load_weights(model, record)
    model.mirror = described.get("mirror", False)
    return Restored(model.eval(), preprocessing, classes)


def load_weights(model: Classifier, record: Record) -> None:
    """Put the weights of a finished run into its network.

    Raises:
        DataError: If they are missing, damaged or do not fit.
    """
    path = record.file("model.safetensors")
    with reading(path, FIX):
        model.load_state_dict(load_file(path))


def write_network(folder: Path, model: Classifier, described: Mapping[str, Any]) -> None:
    """Write model.safetensors and model.json, which `restore` reads.

    Args:
        described: Names the model, its classes, preprocessing, precision and mirror; of joined
            runs also `members`, each with its model and preprocessing, in their order.
    """
    tensors = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    write_atomic(folder / "model.safetensors", save(tensors))
    write_json(folder / "model.json", described)


def refuse_own_code(record: Record, *, allowed: bool) -> None:
    """Refuse a record whose network, or that of a member, is built by code that it names.

    Args:
        allowed: Whether such code may be imported.

    Raises:
        ConfigError: If there is such code, and it may not.
    """
    code = [name for name in _networks(record.model) if is_own(name) and ":" in name]
    if code and not allowed:
        raise ConfigError(
            f"the network of {record.folder} is built by {code[0]}, which would be "
            "imported and run; where you trust it, --own-code allows that"
        )


def changed_code(record: Record) -> list[Text]:
    """Say of the user's own code that builds a network what is no longer as the run had it.

    It is imported; so ask after `restore`, which is told whether that is allowed.

    Returns:
        A sentence of each function whose source was edited since, for people to judge.
    """
    known = record.config.get("own_code", {})
    return [
        text(
            "the source of {name} was edited after this run: what it builds now may not be the "
            "network that was measured",
            name=name,
        )
        for name in _networks(record.model)
        if name in known and source_digest(name) != known[name]
    ]


def _networks(described: Mapping[str, Any]) -> list[str]:
    """Return the names of all networks that are built for a record."""
    if "members" not in described:
        return [described["model"]]
    return [name for member in described["members"] for name in _networks(member)]


def _build(described: Mapping[str, Any], num_classes: int) -> Classifier:
    """Build what model.json describes, with random weights; joined runs may be joined again."""
    seen = described["preprocessing"]
    if "members" in described:
        members = described["members"]
        sizes = [member["preprocessing"]["size"] for member in members]
        built = [_build(member, num_classes) for member in members]
        for each, member in zip(built, members, strict=True):
            each.mirror = member.get("mirror", False)
        model = together(list(zip(built, sizes, strict=True)), num_classes)
    else:
        model = build_model(
            described["model"], num_classes, image_size=seen["size"], weights="none", seed=0
        )
    model.mean, model.std = tuple(seen["mean"]), tuple(seen["std"])
    return model
