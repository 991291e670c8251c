"""Errors a user can cause and fix.

SmallsetError
├── ConfigError   a setting is unknown, mistyped or out of range
├── DataError     images, labels or weights on disk are not what was promised
│   └── MissingWeights   pretrained weights are not on this machine
└── RunError      a run went wrong (diverged, or its checkpoint does not match)
"""

import difflib
from collections.abc import Iterable
from importlib.util import find_spec


class SmallsetError(Exception):
    """Base of the errors below; the command line prints its message without a traceback."""


class ConfigError(SmallsetError, ValueError):
    """A setting is unknown, mistyped or out of range."""


class DataError(SmallsetError, ValueError):
    """Images, labels or weights on disk are not what was promised."""


class MissingWeights(DataError):
    """Pretrained weights are not on this machine; whoever knows the command says what is."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name
        """The network's."""


class RunError(SmallsetError, RuntimeError):
    """A run went wrong."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the second half of an "unknown name" message: the nearest name, or all of them.

    Example:
        >>> suggest("resnet", ["resnet101", "resnet18", "regnet"])
        "did you mean 'resnet18'?"
    """
    names = sorted(known)
    begun = [each for each in names if name and each.startswith(name)]
    if begun:  # the start of a name says more than letters that happen to be alike
        return f"did you mean {min(begun, key=len)!r}?"
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(names)}"


def need_package(what: str, package: str) -> None:
    """Refuse to go on without a package that no extra brings.

    Raises:
        ConfigError: If it is missing, with the command that installs it.
    """
    if find_spec(package) is None:
        raise ConfigError(f"{what} needs {package}: pip install {package}")


def need(what: str, extra: str, *packages: str) -> None:
    """Refuse to go on without the packages of an extra.

    Raises:
        ConfigError: If one is missing, with the command that installs it.
    """
    if any(find_spec(package) is None for package in packages):
        raise ConfigError(f"{what} needs the extra: pip install 'smallset[{extra}]'")
