"""Messages name flags of the command line; to whom Python raises them, its own names are said."""

import re
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from typing import Any, ParamSpec, TypeVar

from smallset.config import RunConfig
from smallset.errors import SmallsetError
from smallset.record.command import FLAGS
from smallset.settings import flat, parse_value

_P = ParamSpec("_P")
_R = TypeVar("_R")
_DEFAULT = flat(RunConfig().model_dump(mode="json"))
_SETTINGS = {
    **{flag: name for name, flag in FLAGS.items()},
    "--skip-unreadable": "data.skip_unreadable", "--skip-empty": "data.skip_empty",
    "--device": "compute.device", "--lang": "figures.lang",
}  # fmt: skip
_RENAMED = {"--with": "nets", "--format": "file_format"}
_COMMANDS = (
    "best|check|clean|export|join|models|predict|report|review|serve|study|train|tune|weights"
)
_WHOLE_COMMAND = re.compile(rf"smallset (?:{_COMMANDS})\b[^`);\n]*")
_FLAG = re.compile(r"(?<![\w-])--set ([\w.]+)=([^\s,;)]+)|(?<![\w-])(--[a-z][a-z-]*)")


def in_python(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let errors of a function say what the flags that they name are called in its arguments."""
    parameters = signature(function).parameters

    @wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except SmallsetError as error:
            if names := python_names(str(error), parameters):
                error.args = (f"{error}\nin Python: {'; '.join(names)}",)
            raise

    return called


def python_names(message: str, parameters: Mapping[str, Parameter]) -> list[str]:
    """Return, of each flag that a message names, how a function takes it; whole commands stay.

    Args:
        parameters: Of the function that was called.

    Example:
        >>> def train(data, config=None, resume=False): ...
        >>> python_names("give --skip-empty, or --resume", signature(train).parameters)
        ["--skip-empty is RunConfig(data={'skip_empty': True})", '--resume is resume=True']
    """
    found: dict[str, str] = {}
    for setting, value, flag in _FLAG.findall(_WHOLE_COMMAND.sub("", message)):
        if setting in _DEFAULT:
            found[f"--set {setting}={value}"] = _setting(
                setting, repr(parse_value(value)), parameters
            )
            continue
        name = str(_RENAMED.get(flag, flag[2:].replace("-", "_")))
        if name in parameters:
            found[flag] = f"{name}={'True' if parameters[name].default is False else '...'}"
        elif flag in _SETTINGS:
            is_switch = isinstance(_DEFAULT[_SETTINGS[flag]], bool)
            found[flag] = _setting(_SETTINGS[flag], "True" if is_switch else "...", parameters)
    return [f"{flag} is {said}" for flag, said in found.items() if said]


def _setting(name: str, value: str, parameters: Mapping[str, Any]) -> str:
    """Return how a function takes a setting; "" where it takes none."""
    if "settings" in parameters:
        return f"settings={{{name!r}: {value}}}"
    if "config" not in parameters:
        return ""
    group, _, last = name.rpartition(".")
    return f"RunConfig({group}={{{last!r}: {value}}})" if group else f"RunConfig({last}={value})"
