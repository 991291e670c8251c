"""What a server says of its model, and the shape of its answers, for the OpenAPI document too."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from smallset.compute import versions
from smallset.models.weights import file_sha256
from smallset.record.record import Record
from smallset.show.report.how_good import headline
from smallset.use.limits import Limits
from smallset.use.predictor import Predictor


class Answer(BaseModel):
    """One picture, with the names of `smallset predict --format jsonl`."""

    path: str = Field(description="The file name as the upload gave it; empty where it gave none.")
    id: str | None = Field(description="sha256 of the decoded pixels.")
    predicted: str | None = Field(description="The most probable class.")
    probability: float | None = Field(description="Of it, in [0, 1].")
    seen_in: str | None = Field(
        description="train, val or test, where the run had a picture of the same pixels."
    )
    error: str | None = Field(description="Why the picture cannot be read; null where it can.")
    set: list[str] | None = Field(
        default=None, description="With --sets: the classes that it may well belong to."
    )
    unknown: list[str] | None = Field(
        default=None,
        description="With --reject: why it is refused (probability, distance); empty where it "
        "is not.",
    )
    probabilities: dict[str, float] | None = Field(
        description="Of every class; with --top, of the most probable ones, these first."
    )


class Answers(BaseModel):
    """The pictures of a request, in its order."""

    images: list[Answer]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class Health(BaseModel):
    """That the server answers."""

    status: Literal["ok"]


class Accuracy(BaseModel):
    """Of the run, with its 95 % interval; what new pictures of the same kind may expect."""

    value: float
    low: float
    high: float
    images: int
    measured_on: Literal["test", "folds", "val"]


class Temperature(BaseModel):
    """What the logits are divided by."""

    value: float
    said: str


class About(BaseModel):
    """What there is to know of the model."""

    model: str
    classes: list[str]
    preprocessing: dict[str, Any] = Field(description="From a file to the network's input.")
    precision: str
    mirror: bool = Field(description="Whether a picture and its mirror image are averaged.")
    temperature: Temperature
    accuracy: Accuracy | None = Field(description="null where it learnt from all.")
    doubt: list[str] = Field(description="What there is to know of the probabilities.")
    top: int | None
    sets: float | None
    reject: float | None
    fingerprint: dict[str, str | None] = Field(
        description="sha256 of the weights and of the data, and the digest of the settings."
    )
    versions: dict[str, dict[str, str]] = Field(
        description="Of packages, of the run and of the server."
    )
    limits: dict[str, float]


def describe(
    record: Record,
    predictor: Predictor,
    limits: Limits,
    *,
    top: int | None,
    sets: float | None,
    reject: float | None,
) -> About:
    """Return what `GET /model` says.

    Args:
        predictor: Of the record, as it answers.
    """
    config, seen = record.config, headline(record)
    accuracy = None
    if seen is not None:
        accuracy = Accuracy(**seen.accuracy._asdict(), images=seen.images, measured_on=seen.source)
    temperature = predictor.temperature
    return About(
        model=record.model["model"],
        classes=list(predictor.classes),
        preprocessing=predictor.preprocessing.to_json(),
        precision=record.model["precision"],
        mirror=predictor.model.mirror,
        temperature=Temperature(value=temperature.value, said=temperature.said.say("en")),
        accuracy=accuracy,
        doubt=[each.say("en") for each in predictor.doubt],
        top=top,
        sets=sets,
        reject=reject,
        fingerprint={
            "weights": file_sha256(record.folder / "model.safetensors"),
            "data": config["data"]["fingerprint"],
            "settings": config.get("digest"),
        },
        versions={"run": config["versions"], "server": versions()},
        limits={
            "request_bytes": limits.request_bytes,
            "image_bytes": limits.image_bytes,
            "megapixels": predictor.preprocessing.max_megapixels,
            "images": limits.max_images,
            "waiting": limits.max_waiting,
        },
    )
