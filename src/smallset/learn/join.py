"""Several finished runs as one network: their logits averaged, each over its own temperature.

The average is one Linear layer on the members' features side by side, so it is an ordinary record.
"""

import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import nn

from smallset.compute import resolve, torch_as_it_was
from smallset.config import RunConfig, build_config
from smallset.data.out import taken
from smallset.data.prepare import DataSource, Prepared
from smallset.errors import ConfigError, DataError
from smallset.files import make_folder, write_json
from smallset.groups import SPLITS, FigureConfig
from smallset.learn.describe import describe
from smallset.learn.inputs import Inputs
from smallset.learn.run import SCRATCH, refuse_overwriting, scored
from smallset.learn.score import predict
from smallset.models.forward import placed
from smallset.models.parts import Classifier, last_linear
from smallset.models.registry import preprocessing_for
from smallset.models.restore import refuse_own_code, restore, write_network
from smallset.models.together import SideBySide, View, averaged, together
from smallset.models.weights import file_sha256
from smallset.progress import Reporter
from smallset.record.measures import temperature
from smallset.record.predictions import Predictions, write_predictions
from smallset.record.record import Record, no_run, write_embeddings, write_history, write_result


def join_runs(
    runs: Sequence[Path],
    folder: Path,
    *,
    data: str | None = None,
    temperatures: Sequence[float] | None = None,
    device: str = "auto",
    own_code: bool = False,
    places: Sequence[Path] | None = None,
    figures: FigureConfig | None = None,
    reporter: Reporter | None = None,
) -> Record:
    """Join finished runs on the same data into one network, and leave its record (without figures).

    Every member sees the picture at its own size, and its mirror image where it averages both. What
    a member said of images at the joined size is read from its record, and not computed again.
    Test images are read once, at the end, by the joined network.

    Args:
        runs: Records, two or more.
        folder: Where the record goes; one that was stopped there is joined again.
        data: Where the images are now; None takes the place where the first run had them.
        temperatures: What the logits of each run are divided by; None fits each on val.
        device: Where it computes: auto, cpu, cuda or mps.
        own_code: Let records import the functions that build their networks; trust them first.
        places: Where the record says that the runs are; None for where they are now.
        figures: Pictures of the record.
        reporter: Told of progress; None says nothing.

    Raises:
        ConfigError: If runs do not fit together, or one does not end in a Linear layer.
        DataError: If one is no finished run, the images changed, or there is no val to fit on.
        RunError: If `folder` holds something else.
    """
    began, inner, notes = time.perf_counter(), reporter or Reporter(), []
    reporter = replace(inner, note=lambda note: (notes.append(note), inner.note(note)))
    records = [Record(each) for each in runs]
    _refuse_unlike(records, temperatures)
    for record in records:
        refuse_own_code(record, allowed=own_code)
    out = Record(folder)
    begun = out.has_begun and not out.is_complete and out.joined is not None
    refuse_overwriting(out, resume=begun)
    config = _settings(records, device, figures or FigureConfig(), reporter)
    source = data or records[0].config["data"]["source"]
    with taken(folder, source), closing(reporter), torch_as_it_was(config.compute.threads):
        prepared = DataSource(source, reporter).prepared(config)
        _refuse_changed(prepared, source, records)
        model, heads = _side_by_side(records, own_code=own_code)
        seen = preprocessing_for(model, config)
        model = placed(model, config.compute.device)
        scratch = make_folder(folder) / SCRATCH
        inputs = Inputs(config, prepared, model, seen, reporter=reporter, scratch=scratch)
        try:
            answers = _answers(inputs, records, heads)
            known = temperatures or _fitted(answers)
            model.classifier = averaged(heads, known).to(config.compute.device)
            described = describe(source, config, prepared, weights=None)
            made = _joined(records, known, described["digest"], given=bool(temperatures))
            for member, place in zip(made["joined"]["members"], places or runs, strict=True):
                member["folder"] = str(place)
            described |= made
            write_json(folder / "config.json", described)
            _write(inputs, records, answers, known, [*prepared.notes, *notes], began, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Record(folder)


def _refuse_unlike(records: Sequence[Record], temperatures: Sequence[float] | None) -> None:
    """Refuse runs that have no common data, and temperatures that would be guesses."""
    if len({record.folder.resolve() for record in records}) < max(2, len(records)):
        raise ConfigError("two different runs or more can be joined; name each once")
    if temperatures is not None and (
        len(temperatures) != len(records)
        or not all(0 < each < float("inf") for each in temperatures)
    ):
        raise ConfigError(f"{len(records)} runs need as many temperatures, each a number above 0")
    first = records[0]
    for record in records:
        if not record.is_complete:
            place = shlex.quote(str(record.folder))
            raise no_run(record.folder, f"`smallset train DATA --out {place}` leaves one")
        for what, of, fix in (
            ("classes", _classes, "train them on the same classes"),
            (
                "images, splits or labels",
                _fingerprint,
                "train them on the same data and --train-on",
            ),
            ("data.resize", _resize, "train one again with the --set data.resize of the other"),
        ):
            if of(record) != of(first):
                raise ConfigError(
                    f"{record.folder} and {first.folder} cannot be joined: they differ in {what} "
                    f"({_short(of(first))} and {_short(of(record))}); {fix}"
                )
        if temperatures is None:
            _refuse_guess(record)


def _refuse_guess(record: Record) -> None:
    """Refuse a run without images that its temperature can be fitted on."""
    why = "its images were scored by the networks of folds, not by the one in the record"
    if "folds" not in record.result:
        if record.config["data"]["images"]["val"]:
            return
        why = "it has no val images"
    raise DataError(
        f"the temperature of {record.folder} cannot be fitted: {why}, and test must not be used; "
        "train it with a val split (--folds 0, without val in --train-on), or give "
        "--temperatures that were fitted before"
    )


def _classes(record: Record) -> list[str]:
    return record.config["data"]["classes"]


def _fingerprint(record: Record) -> str:
    return record.config["data"]["fingerprint"]


def _resize(record: Record) -> str:
    return record.model["preprocessing"]["resize"]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else ", ".join(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _settings(
    records: Sequence[Record], device: str, figures: FigureConfig, reporter: Reporter
) -> RunConfig:
    """Return the settings that a joined network has: of its images, and of how it computes."""
    models = [record.model for record in records]
    slow = [each for each in models if each["precision"] != "bfloat16"]
    if slow and len(slow) < len(models):
        reporter.note(
            "some of the runs computed in bfloat16 and some in float32: joined in float32"
        )
    megapixels = min(each["preprocessing"]["max_megapixels"] for each in models)
    config = build_config({
        "model": " & ".join(each["model"] for each in models),
        "image_size": max(each["preprocessing"]["size"] for each in models),
        # The labels are those of the data: cleaning is of a member's training.
        "data": {**records[0].config["config"]["data"], "clean": "", "max_megapixels": megapixels},
        "compute": {"device": device, "precision": "float32" if slow else "bfloat16"},
        "figures": figures.model_dump(),
    })  # fmt: skip
    return config.model_copy(update={"compute": resolve(config.compute)})


def _refuse_changed(prepared: Prepared, source: str, records: Sequence[Record]) -> None:
    if prepared.fingerprint() != _fingerprint(records[0]):
        raise DataError(
            f"{source} is not what {records[0].folder} learnt from: images, splits or labels have "
            "changed since; --data PLACE says where they are as they were"
        )


def _side_by_side(
    records: Sequence[Record], *, own_code: bool
) -> tuple[Classifier, list[nn.Linear]]:
    """Return the network of all features, with a head to be set, and the heads of the runs."""
    members: list[tuple[Classifier, int]] = []
    heads: list[nn.Linear] = []
    for record in records:
        model, preprocessing, _ = restore(record, own_code=own_code)
        found = last_linear(model.classifier)
        if found is None:
            raise ConfigError(
                f"{record.folder} cannot be joined: its network, {record.model['model']}, does "
                "not end in a Linear layer, so its logits cannot be averaged in one"
            )
        heads.append(found[1])
        members.append((model, preprocessing.size))
    return together(members, heads[0].out_features), heads


class Answer(NamedTuple):
    """What a member says of all images, as the joined network lets it see them."""

    predictions: Predictions
    embeddings: dict[str, Float[ndarray, "n dim"]]


def _answers(inputs: Inputs, records: Sequence[Record], heads: Sequence[nn.Linear]) -> list[Answer]:
    """Return what each member says: read where it saw the images at this size, else computed."""
    config, first = inputs.config, inputs.model
    assert isinstance(first.features, SideBySide)
    found: list[Answer] = []
    for record, view, head in zip(records, first.features.views, heads, strict=True):
        assert isinstance(view, View)
        described, known = record.model, _of_these(inputs.data, record.predictions)
        if (
            known is not None
            and described["preprocessing"]["size"] == config.image_size
            and described["precision"] == config.compute.precision
            and view.bare is not None  # then its features are the embeddings of the record
        ):
            splits = [split for split in SPLITS if (known.splits == split).any()]
            vectors = {split: record.embeddings(split) for split in splits}
            found.append(Answer(known, vectors))
            continue
        alone = placed(
            Classifier(view, head, mean=first.mean, std=first.std), config.compute.device
        )
        own = Inputs(
            config, inputs.data, alone, inputs.preprocessing,
            reporter=inputs.reporter, scratch=inputs.scratch,
        )  # fmt: skip
        found.append(Answer(*predict(own, cached=True)))
    return found


def _of_these(data: Prepared, known: Predictions) -> Predictions | None:
    """Return what a record says of images, by their paths and labels now; None if it lacks some.

    A member whose training labels were cleaned lacks what was dropped, and has labels of its own.
    """
    at = np.concatenate([data.of(split) for split in SPLITS])
    images = data.images
    if known.ids != tuple(data.pixels.ids[row] for row in data.rows[at]):
        return None
    if known.of_folds or (known.splits != images.splits[at]).any():
        return None
    return replace(
        known, paths=tuple(images.paths[row] for row in at), labels=images.labels[at],
        given_labels=data.given_labels[at],
    )  # fmt: skip


def _fitted(answers: Sequence[Answer]) -> list[float]:
    """Return the temperature of each run on val, as the joined network sees the pictures."""
    val = answers[0].predictions.splits == "val"
    labels = answers[0].predictions.given_labels[val]
    return [temperature(answer.predictions.probs[val], labels) for answer in answers]


def _together(answers: Sequence[Answer], temperatures: Sequence[float]) -> Answer:
    """Return what the joined network says: the mean of the logits, each over its temperature."""
    tiny = np.finfo(np.float32).smallest_subnormal
    logs = np.mean(
        [
            np.log(np.maximum(answer.predictions.probs, tiny)) / value
            for answer, value in zip(answers, temperatures, strict=True)
        ],
        axis=0,
    )
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    probs = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    splits = answers[0].embeddings
    embeddings = {
        split: np.concatenate([each.embeddings[split] for each in answers], 1) for split in splits
    }
    return Answer(replace(answers[0].predictions, probs=probs), embeddings)


def _joined(
    records: Sequence[Record], temperatures: Sequence[float], digest: str, *, given: bool
) -> dict[str, Any]:
    """Return what config.json says of the members, and a digest that they decide with the data."""
    members = [
        {
            "model": record.model["model"],
            "digest": record.config["digest"],
            "weights": file_sha256(record.folder / "model.safetensors"),
            "temperature": value,
        }
        for record, value in zip(records, temperatures, strict=True)
    ]
    decides = [digest, *([member["weights"], member["temperature"]] for member in members)]
    return {
        "joined": {"members": members, "fitted_on": None if given else "val"},
        "digest": hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16],
    }


def _write(
    inputs: Inputs,
    records: Sequence[Record],
    answers: Sequence[Answer],
    temperatures: Sequence[float],
    notes: list[str],
    began: float,
    folder: Path,
) -> None:
    config, classes = inputs.config, inputs.data.images.classes
    predictions, embeddings = _together(answers, temperatures)
    write_history(folder, [])
    write_predictions(folder, predictions)
    write_embeddings(folder, embeddings)
    described = {
        "model": config.model,
        "members": [_member(record.model) for record in records],
        "classes": list(classes),
        "preprocessing": inputs.preprocessing.to_json(),
        "precision": config.compute.precision,
        "mirror": config.mirror,
    }
    write_network(folder, inputs.model, described)
    seconds = round(time.perf_counter() - began, 1)
    result = {**scored(predictions), "epoch": None, "seconds": seconds, "findings": notes}
    write_result(folder, result)


def _member(described: dict[str, Any]) -> dict[str, Any]:
    """Return what has to be known of a member to build it again."""
    return {
        key: described[key]
        for key in ("model", "members", "preprocessing", "mirror")
        if key in described
    }
