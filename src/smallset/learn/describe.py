"""What config.json says of a run: settings, versions, machine, data and weights."""

import hashlib
from typing import Any

from smallset.compute import commit, device_name, versions
from smallset.config import RunConfig
from smallset.data.prepare import Prepared
from smallset.data.read import Data
from smallset.own_code import is_function, source_digest

TRAINING_RULES = 3
"""Version of the training procedure, part of the digest. Raise it whenever the same settings and
images would give other numbers, so that no study reuses an older run."""


def describe(
    data: Data,
    config: RunConfig,
    prepared: Prepared,
    *,
    weights: str | None,
    start: str | None = None,
    teacher: str | None = None,
    cleaning: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of config.json: everything that decides the numbers of a run.

    Args:
        weights: sha256 of the pretrained weights; None where there are none.
        start: sha256 of the weights of another run that this one starts from; None for none.
        teacher: Hash of the answers that it learns beside the labels; None for none.
        cleaning: What cleans the training labels; None where nothing does.
    """
    fingerprint = prepared.fingerprint()
    decides = f"{config.digest()}/{fingerprint}/{weights}/{start}/{cleaning}/{TRAINING_RULES}"
    named = [name for name in (config.model, config.loss) if is_function(name)]
    own_code = {name: source_digest(name) for name in named}
    decides += f"/{own_code}" if own_code else ""
    decides += f"/{teacher}" if teacher else ""
    return {
        "config": config.model_dump(mode="json"),
        "versions": versions(),
        "commit": commit(),
        "device": device_name(config.compute),
        "data": {
            "source": str(data),
            "fingerprint": fingerprint,
            "classes": list(prepared.images.classes),
            **describe_images(prepared),
            "skipped": [p.message for p in prepared.problems if p.kind == "unreadable"],
        },
        "weights": weights,
        "start": start,
        "cleaning": cleaning,
        "training_rules": TRAINING_RULES,
        **({"own_code": own_code} if own_code else {}),
        **({"teacher": teacher} if teacher else {}),
        "digest": hashlib.sha256(decides.encode()).hexdigest()[:16],
    }


def describe_images(prepared: Prepared) -> dict[str, Any]:
    """Return how many images a run has, and how many of them have a label that was made wrong."""
    return {
        "images": {split: len(prepared.of(split)) for split in ("train", "val", "test")},
        "wrong_labels": int((prepared.given_labels != prepared.images.labels).sum()),
    }
