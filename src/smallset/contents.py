"""What the JSON files of smallset must hold; they may hold more. Shares and rates are in [0, 1]."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

SHARE = float | None


class Described(TypedDict):
    """Of the data, in config.json."""

    source: str
    fingerprint: str
    classes: list[str]
    images: dict[Literal["train", "val", "test"], int]
    wrong_labels: int
    skipped: list[str]
    usual_folds: NotRequired[int]


class JoinedMember(TypedDict):
    """A run that was joined, in config.json."""

    folder: str
    model: str
    temperature: float


class Joined(TypedDict):
    """How runs were joined, in config.json."""

    members: list[JoinedMember]
    fitted_on: str | None


class Config(TypedDict):
    """config.json of a record."""

    config: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    device: str
    data: Described
    weights: str | None
    start: str | None
    digest: str
    joined: NotRequired[Joined]
    own_code: NotRequired[dict[str, str]]
    teacher: NotRequired[str]


class Folds(TypedDict):
    """What folds said of each other, in result.json."""

    folds: int
    accuracy: float
    low: float
    high: float
    repeats: list[float]


class Result(TypedDict):
    """result.json of a record."""

    train_accuracy: SHARE
    val_accuracy: SHARE
    test_accuracy: SHARE
    recall: dict[str, SHARE]
    epoch: int | None
    seconds: float
    findings: list[str]
    folds: NotRequired[Folds]
    files: NotRequired[dict[str, str]]


class Seen(TypedDict):
    """How a network sees pictures, in model.json: the arguments of `Preprocessing`."""

    size: int
    resize: Literal["squash", "crop", "zoom", "pad"]
    max_megapixels: float
    mean: list[float]
    std: list[float]


class Member(TypedDict):
    """One network, or several that were joined, in model.json."""

    model: str
    preprocessing: Seen
    members: NotRequired[list["Member"]]


class FittedFrom(TypedDict):
    """Where a temperature comes from, in model.json."""

    images: int
    source: str
    why_not: str


class Model(Member):
    """model.json of a record."""

    classes: list[str]
    precision: Literal["float32", "bfloat16"]
    mirror: NotRequired[bool]
    temperature: NotRequired[float]
    temperature_from: NotRequired[FittedFrom]


class Epoch(TypedDict):
    """A line of epochs.jsonl."""

    stage: int
    objective: str
    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    seconds: float


class Progress(TypedDict):
    """How far a training is, in its checkpoint."""

    stage: int
    epoch: int
    history: list[Epoch]


class StudyRun(TypedDict):
    """One run, in study.json."""

    arm: str
    seed: int
    folder: str
    state: str
    error: NotRequired[str]


class LookedAt(TypedDict):
    """Two arms that are compared, in study.json."""

    arm: str
    against: str
    looked_at: list[int]


class Study(TypedDict):
    """study.json."""

    study: str
    data: str
    called: list[str]
    seeds: int
    missing: dict[str, str]
    spec: dict[str, Any]
    runs: list[StudyRun]
    network: NotRequired[str]
    comparisons: NotRequired[list[LookedAt]]


class Limits(TypedDict):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


class Noise(TypedDict):
    """Labels that were made wrong on purpose, in clean.json."""

    rate: float
    seed: int


class Gate(TypedDict):
    """What a cleaning does to held-out labels, in clean.json."""

    cleaning: str
    gain: Limits


class Cleaned(TypedDict):
    """What of clean.json is needed to use the labels."""

    data: str
    noise: Noise
    splits: NotRequired[list[str]]
    images: NotRequired[int]
    files: NotRequired[dict[str, str]]
    noise_kind: NotRequired[Literal["even", "by class"]]


class Cleaning(Cleaned):
    """clean.json, as its page and the terminal show it."""

    rate: Limits
    most_wrong: NotRequired[float]
    accuracy: float
    is_weak: bool
    suspects: int
    contradicted: NotRequired[int]
    nowhere: NotRequired[int]
    expected_precision: float
    highest_precision: NotRequired[float]
    gate: list[Gate]
    chosen: str | None
    relabelled: int
    dropped: int


class Step(TypedDict):
    """A line of the history of a review: a decision, or one that was taken back."""

    path: NotRequired[str]
    undo: NotRequired[str]
    before: NotRequired["State"]
    after: NotRequired["State"]
    suggested_probability: NotRequired[float]
    """Of the class that was suggested before, where a person chose another."""
    together: NotRequired[str]
    """Shared by decisions that were one, and are taken back as one."""


class State(TypedDict):
    """What a decision changes, in the history of a review."""

    decision: Literal["keep", "relabel", "drop"]
    suggested: str
    by: str


class Candidate(TypedDict):
    """What could be chosen, in best.json."""

    name: str
    cost: float
    accuracy: SHARE
    chance: SHARE
    state: Literal["raced", "dropped", "left out"]
    why: str


class Plain(TypedDict):
    """The choice that no search was needed for, in best.json."""

    name: str
    settings: dict[str, Any]
    test: NotRequired[SHARE]
    is_chosen: NotRequired[bool]
    """The search came to the same."""
    command: NotRequired[str]
    """That trains it."""


class Best(TypedDict):
    """best.json."""

    minutes: float
    images: dict[str, int]
    chosen: str
    candidates: list[Candidate]
    naive: SHARE
    estimate: Limits | None
    estimate_of: str | None
    settings: dict[str, Any]
    finetune: dict[str, Any] | None
    mirror: NotRequired[dict[str, Any] | None]
    """What averaging mirror images gave the best head."""
    fresh: NotRequired[dict[str, Any] | None]
    """A network from scratch beside pretrained ones."""
    plain: Plain | None
    members: NotRequired[int]
    """Networks from scratch that were joined, where they are more than one."""
    asked: dict[str, Any]
    seconds: float
    place: NotRequired[str]


class Scratch(TypedDict):
    """What is trained from scratch, in search.json."""

    settings: dict[str, Any]
    members: int
    at_once: int


class Search(TypedDict):
    """search.json, the notebook of a search that goes on."""

    asked: dict[str, Any]
    spent: float
    costs: NotRequired[dict[str, float]]
    scratch: NotRequired[Scratch]
    joins: NotRequired[bool]


class Imported(TypedDict):
    """What is known of an imported weight file."""

    file: str
    sha256: str
