"""A user's own models and losses, named as "module:object"."""

import importlib
from typing import Any

from smallset.errors import ConfigError


def load_object(name: str) -> Any:
    """Import "package.module:object".

    Args:
        name: As a user writes it in a setting.

    Raises:
        ConfigError: If it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot import {name!r}: {error}") from None
