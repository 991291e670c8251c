"""Settings as such: typed groups, their dotted names, and what is wrong with one."""

import difflib
import math
import reprlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from smallset.errors import ConfigError
from smallset.own_code import look_in

MAX_TOML = 1_000_000  # bytes
SHORT = reprlib.Repr()  # neither long nor deep, whatever was given
SHORT.maxstring = SHORT.maxlong = SHORT.maxother = 100


class Settings(BaseModel):
    """Base of all groups of settings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    if not TYPE_CHECKING:  # which knows the fields

        def __init__(self, **values: Any) -> None:
            """Build from keywords, as people do in Python; files go through `build_config`.

            Raises:
                ConfigError: If a name is unknown (the nearest is named) or a value does not fit.
            """
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigError(
                    "; ".join(explain(each, type(self)) for each in error.errors())
                ) from None

        # Of groups inside, pydantic itself says which setting it is.
        __init__.__pydantic_base_init__ = True


def parse_value(text: str) -> Any:
    """Read the right side of ``--set key=value``: a TOML value where it is one, else plain text.

    Args:
        text: Such as "0.9", "true", "[15, 25]", "none" or "cosine".

    Example:
        >>> parse_value("[15, 25]"), parse_value("cosine"), parse_value("none")
        ([15, 25], 'cosine', None)
    """
    if text == "none":
        return None
    try:
        content = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # no TOML, a number of 5,000 digits, or [[[[...
        return text
    value = content.pop("value")
    is_number = not isinstance(value, float) or math.isfinite(value)
    return value if is_number and not content else text


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: If it is missing, too large or too deep, or not TOML.
    """
    # To open a pipe is to wait for ever, but for those that a shell makes: --config <(...).
    if path.exists() and not path.is_file() and path.parent.name != "fd":
        raise ConfigError(f"cannot read the settings file {path}: it is no regular file")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TOML + 1)
        look_in(path.parent)
        if len(content) > MAX_TOML:
            raise ConfigError(f"{path} is over {MAX_TOML:,} bytes, the limit of settings")
        return tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from None
    except RecursionError:
        raise ConfigError(f"{path} is not a TOML file of settings: it is nested too deep") from None
    except ConfigError:
        raise
    except ValueError as error:  # no UTF-8, no TOML, or a number of 5,000 digits
        raise ConfigError(f"{path} is not a TOML file: {error}") from None


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    named: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            named |= flat(cast(dict[str, Any], value), f"{prefix}{name}.")
        else:
            named[f"{prefix}{name}"] = value
    return named


def nested(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with dotted names as nested mappings: the inverse of `flat`."""
    whole: dict[str, Any] = {}
    for path, value in named.items():
        *groups, name = path.split(".")
        inner = whole
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
    return whole


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """List the settings in which two nested mappings differ, as "path: old -> new"."""
    lines: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        left, right = old.get(key), new.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            inner = cast(dict[str, Any], left), cast(dict[str, Any], right)
            lines += differences(*inner, f"{prefix}{key}.")
        elif left != right:
            lines.append(f"{prefix}{key}: {left!r} -> {right!r}")
    return lines


def unknown_setting(path: str, model: type[Settings]) -> str:
    """Say that there is no such setting, and which one was probably meant.

    Args:
        path: Dotted name, as a user wrote it.
        model: The settings among which it was looked for.
    """
    names = _names(model)
    if path in names:  # of a group, but given as a single key: "data.resize" = ... in a TOML file
        return f"{path!r} is a setting in a group; in TOML write {path} without quotation marks"
    group, _, last = path.rpartition(".")
    ends = {name.rpartition(".")[2] for name in names}
    # The end of the name says most: 'optim.lr' is meant to be 'lr'.
    close = last if last in ends else next(iter(difflib.get_close_matches(last, ends, n=1)), None)
    meant = [name for name in names if name.rpartition(".")[2] == close]
    if meant:
        best = difflib.get_close_matches(path, meant, n=1, cutoff=0)[0]
        return f"no setting named {path!r}; did you mean {best!r}?"
    beside = [name for name in names if name.rpartition(".")[0] == group] or names
    return f"no setting named {path!r}; known here: {', '.join(sorted(beside))}"


def _names(model: type[Settings], prefix: str = "") -> list[str]:
    """Return the dotted names of all settings."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        inner: Any = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            names += _names(inner, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def explain(error: Any, model: type[Settings]) -> str:
    """Say what is wrong with one setting, in one sentence.

    Args:
        error: One of pydantic's ``ValidationError.errors()``.
    """
    parts: list[str] = [str(part) for part in error["loc"]]
    path = ".".join(parts)
    if error["type"] == "extra_forbidden":
        return unknown_setting(path, model)
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    shown = "" if isinstance(error["input"], dict) else f", got {SHORT.repr(error['input'])}"
    return f"{path}: {message}{shown}" if path else f"{message}{shown}"
