"""A user's own models and losses, named as "module:object"."""

import contextlib
import importlib
import traceback
from collections.abc import Iterator
from typing import Any

from smallset.errors import ConfigError, SmallsetError


def load_object(name: str) -> Any:
    """Import "package.module:object".

    Args:
        name: As a user writes it in a setting.

    Raises:
        ConfigError: If it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    with running(name, imports=True):
        found = importlib.import_module(module)
    if not callable(loaded := getattr(found, attribute, None)):
        what = "is no function" if hasattr(found, attribute) else "is not there"
        place = getattr(found, "__file__", None) or module
        raise ConfigError(f"cannot import {name!r}: {attribute!r} of {place} {what}")
    return loaded


@contextlib.contextmanager
def running(name: str, *, imports: bool = False) -> Iterator[None]:
    """Turn whatever code of the user's own raises into one message that says where.

    Args:
        name: "module:object", as the user wrote it.
        imports: Whether it is being imported, not called.

    Raises:
        ConfigError: If it raises, or ends the program.
    """
    try:
        yield
    except SmallsetError:
        raise
    except (Exception, SystemExit) as error:
        said = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, ImportError | SyntaxError):  # which say where they are
            at = traceback.extract_tb(error.__traceback__)[-1]
            said += f" ({at.filename}:{at.lineno})"
        told = f"cannot import {name!r}:" if imports else f"{name} raised"
        raise ConfigError(f"{told} {said}") from error
