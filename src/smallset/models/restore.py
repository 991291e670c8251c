"""A finished run's network, and how pictures become its inputs, from its record alone."""

from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file

from smallset.data.preprocessing import Preprocessing
from smallset.errors import DataError
from smallset.models.parts import Classifier
from smallset.models.registry import build_model
from smallset.record.record import Record


class Restored(NamedTuple):
    """What a record gives to whoever wants to use it."""

    model: Classifier
    """With its trained weights, in eval mode, on the CPU."""
    preprocessing: Preprocessing
    classes: tuple[str, ...]


def restore(record: Record) -> Restored:
    """Build the network of a finished run with its trained weights.

    Raises:
        ConfigError: If there is no such model here, such as a function that cannot be imported.
        DataError: If the weights are missing or do not fit.
    """
    described = record.model
    preprocessing = Preprocessing.from_json(described["preprocessing"])
    classes = tuple(described["classes"])
    model = build_model(
        described["model"], len(classes), image_size=preprocessing.size, weights="none", seed=0
    )
    path = record.folder / "model.safetensors"
    try:
        model.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise DataError(f"cannot load the weights {path}: {error}") from None
    model.mirror = described.get("mirror", False)
    return Restored(model.eval(), preprocessing, classes)
