"""What a study is: arms, seeds, what is compared with what. No torch here."""

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from smallset import contents
from smallset.config import RunConfig, build_config, override
from smallset.errors import ConfigError, DataError, suggest
from smallset.files import did_you_mean, given_path, is_file_name
from smallset.reading import read_json
from smallset.settings import Settings, explain, read_toml
from smallset.words import Text, recognised

WRITTEN = frozenset(["study.json", "summary.csv", "comparisons.csv", "report.html", "figures"])
"""What lies in the folder of a study beside its arms."""

IN_PLACE = (
    "{study} ({network} in place of {others})",
    "{study} Run with {network} in place of {others}.",
)
"""Title and description of a study that another network was put into."""
RUN_WITH = ("{study} ({network})", "{study} Run with {network}.")


class Chart(Settings):
    """Test accuracy against something the arms differ in."""

    name: str
    """Name of the file, without its ending."""
    title: str
    """Above the chart."""
    x: str
    """A setting, such as "lr" or "data.noise_rate"; or "images", the number of training images."""
    log: bool = False
    """Logarithmic axis."""
    curves: dict[str, tuple[str, ...]]
    """Label of each curve, and its arms."""


class StudySpec(Settings):
    """A study as its TOML file says it."""

    title: str
    """What it is about, in a few words."""
    about: str
    """What it shows, in a sentence."""
    report: str = ""
    """Section of the course report that it repeats."""
    takes: str = ""
    """What there is to know of its time beside the number of its runs and epochs."""
    epoch_seconds: tuple[float, float] | None = None
    """What an epoch of its runs takes on two cores, which work on two runs at a time: the mean over
    the arms, on 2,100 images, in seconds, with bfloat16 and without."""
    seeds: int = Field(default=3, ge=1)
    """Runs per arm; seeds are 0, 1, 2, ..."""
    baseline: str
    """The arm that others are compared with."""
    comparisons: tuple[tuple[str, str], ...] = ()
    """Pairs (arm, arm it is compared with); empty: every arm with the baseline."""
    vary: tuple[str, ...] = ("seed", "data.noise_seed", "data.subset_seed")
    """Settings that take the seed's number; those an arm sets itself stay as they are."""
    draw_runs: bool = False
    """Draw the figures of every run too."""
    power_law: bool = False
    """Fit a power law to error against the number of training images."""
    base: dict[str, Any] = Field(default_factory=dict)
    """Settings of all arms."""
    arms: dict[str, dict[str, Any]] = Field(min_length=1)
    """Settings of each arm, on top of the base."""
    charts: tuple[Chart, ...] = ()
    """Charts to draw."""

    @model_validator(mode="after")
    def _check(self) -> "StudySpec":
        pairs = [name for pair in self.comparisons for name in pair]
        curves = [arm for chart in self.charts for arms in chart.curves.values() for arm in arms]
        for name in (self.baseline, *pairs, *curves):
            if name not in self.arms:
                raise ValueError(f"no arm named {name!r}; {suggest(name, self.arms)}")
        for name in self.arms:
            if not is_file_name(name) or name in WRITTEN:
                raise ValueError(f"an arm's name is a folder's too, got {name!r}")
        for chart in self.charts:
            if not is_file_name(chart.name):
                raise ValueError(f"a chart's name is a file's too, got {chart.name!r}")
        return self

    @property
    def headings(self) -> tuple[Text, Text]:
        """Return title and description; those of the built-in studies are known in Chinese."""
        known = (*IN_PLACE, *RUN_WITH)
        return recognised(self.title, known), recognised(self.about, known)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return what is compared with what."""
        if self.comparisons:
            return self.comparisons
        return tuple((name, self.baseline) for name in self.arms if name != self.baseline)

    def config(self, arm: str, seed: int, overrides: Mapping[str, Any]) -> RunConfig:
        """Return the settings of one run.

        Args:
            arm: A name among `arms`.
            overrides: Dotted settings laid over those of every arm.

        Raises:
            ConfigError: If a setting is unknown or does not fit.
        """
        merged = merge(self.base, self.arms[arm])
        varied = {path: seed for path in self.vary if not _has(merged, path)}
        try:
            return override(override(build_config(merged), varied), overrides)
        except ConfigError as error:
            raise ConfigError(f"arm {arm}: {error}") from None

    def only(self, arms: Sequence[str]) -> "StudySpec":
        """Return the study with some of its arms; what the others are needed for goes with them.

        Raises:
            ConfigError: If there is no such arm.
        """
        for name in arms:
            if name not in self.arms:
                raise ConfigError(f"no arm named {name!r}; {suggest(name, self.arms)}")
        if set(arms) == set(self.arms):
            return self
        charts: list[Chart] = []
        for chart in self.charts:
            left = {k: tuple(a for a in v if a in arms) for k, v in chart.curves.items()}
            curves = {label: names for label, names in left.items() if names}
            if curves:
                charts.append(chart.model_copy(update={"curves": curves}))
        pairs = tuple(pair for pair in self.pairs if set(pair) <= set(arms))
        kept = {name: settings for name, settings in self.arms.items() if name in arms}
        baseline = self.baseline if self.baseline in arms else next(iter(kept))
        return self.model_copy(
            update={
                "arms": kept, "charts": tuple(charts), "comparisons": pairs, "baseline": baseline,
            }
        )  # fmt: skip


def built_in_studies() -> dict[str, StudySpec]:
    """Return the studies that come with smallset, by name."""
    files = resources.files("smallset") / "studies"
    specs = {
        Path(file.name).stem: _parse(tomllib.loads(file.read_text(encoding="utf-8")), file.name)
        for file in files.iterdir()
        if file.name.endswith(".toml")
    }
    return dict(sorted(specs.items()))


def read_study(name: str) -> tuple[str, StudySpec]:
    """Read a study.

    Args:
        name: One that comes with smallset, or a TOML file.

    Returns:
        Its short name, and what it is.

    Raises:
        ConfigError: If there is no such study or file, or it does not say what a study must.
    """
    if name.endswith(".toml"):
        path = given_path(name)
        return path.stem, _parse(read_toml(path), str(path))
    known = built_in_studies()
    if name not in known:
        near = suggest(name, known)
        other = " Or give" if near.endswith("?") else "; or give"
        raise ConfigError(f"no study named {name!r}; {near}{other} a .toml file")
    return name, known[name]


def _parse(content: Mapping[str, Any], where: str) -> StudySpec:
    try:
        spec = StudySpec.model_validate(dict(content))
    except ValidationError as error:
        messages = [explain(item, StudySpec) for item in error.errors()]
        raise ConfigError(f"{where}: {'; '.join(messages)}") from None
    try:
        for arm in spec.arms:
            spec.config(arm, 0, {})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return spec


FIX = "copy it again from where it is whole, or run the study again into the same folder"


def read_study_json(folder: Path) -> dict[str, Any]:
    """Read study.json, which says what a study is and how far.

    Raises:
        DataError: If it is not there, or damaged.
    """
    path = folder / "study.json"
    if not folder.exists():
        raise DataError(f"there is no folder {folder}{did_you_mean(folder)}")
    if not path.is_file():
        raise DataError(f"{folder} is not a study: it has no study.json")
    return read_json(path, contents.Study, fix=FIX)


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with others laid over them."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = merge(old, value)
        merged[key] = value
    return merged


def _has(settings: Mapping[str, Any], path: str) -> bool:
    inner: Any = settings
    for name in path.split("."):
        if not isinstance(inner, Mapping) or name not in inner:
            return False
        inner = inner[name]
    return True
