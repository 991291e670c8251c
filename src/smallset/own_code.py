"""A user's own models and losses, named as "module:object"."""

import ast
import contextlib
import hashlib
import importlib
import site
import sys
import sysconfig
import time
import traceback
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from smallset.errors import ConfigError, SmallsetError

_beside: list[str] = []
_loaded: dict[str, str] = {}
"""What the source of a module was when it was imported."""
_STARTED = time.time()


def is_function(name: str) -> bool:
    """Whether a setting names an object of the user's own, not a network or a loss of a package."""
    return ":" in name and "+" not in name and not name.startswith("timm:")


def look_in(*folders: str | Path) -> None:
    """Look for own code in these folders beside the current one: that of the last TOML file read.

    A worker, whose current folder may be another, is given all of `places`.
    """
    _beside[:] = [str(Path(folder).absolute()) for folder in folders]


def places() -> tuple[str, ...]:
    """Return the folders where own code is looked for, for a worker to look there, too."""
    return tuple(dict.fromkeys([*_beside, str(Path.cwd())]))


def load_object(name: str) -> Any:
    """Import "package.module:object" from beside the TOML file, the current folder or the path.

    A module whose source has changed since it was imported, as in a notebook, is imported again.

    Args:
        name: As a user writes it in a setting.

    Raises:
        ConfigError: If it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    with running(name, imports=True), _found_first(module.partition(".")[0]):
        if _is_stale(module):
            for stale in _sources(module):
                sys.modules.pop(stale, None)
            importlib.invalidate_caches()
        found = importlib.import_module(module)
        _loaded[module] = _digest(module)
    if not callable(loaded := getattr(found, attribute, None)):
        what = "is no function" if hasattr(found, attribute) else "is not there"
        place = getattr(found, "__file__", None) or module
        raise ConfigError(f"cannot import {name!r}: {attribute!r} of {place} {what}")
    return loaded


def source_digest(name: str) -> str:
    """Return a hash of the source that an object comes from, and of what that imports beside it.

    Of an installed package it is name and version.

    Args:
        name: As for `load_object`.

    Raises:
        ConfigError: If it cannot be imported.
    """
    load_object(name)
    return _loaded[name.partition(":")[0]]


def _is_stale(module: str) -> bool:
    """Whether a module was imported from a source that has changed, or from another folder."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or _package_of(module):
        return False
    here = next((own for each in places() if (own := _file_of(module, Path(each)))), None)
    if here is not None and here != Path(file):
        return True
    if module in _loaded:
        return _loaded[module] != _digest(module)
    # Somebody else imported it, and nobody knows what it was then.
    return any(each.stat().st_mtime > _STARTED for each in _sources(module).values())


@contextlib.contextmanager
def _found_first(top: str) -> Iterator[None]:
    """Let a module beside the TOML file or in the current folder be found before installed ones.

    The folder stays on the path afterwards, at its end: own code may import late, but a file of the
    user's must not be taken for a module of the standard library.
    """
    found = [each for each in places() if _file_of(top, Path(each)) or (Path(each) / top).is_dir()]
    if len(found) > 1:
        raise ConfigError(
            f"{top} is both in {found[0]} (beside the settings file) and in {found[1]} (the "
            "current folder); rename one"
        )
    if not found:
        yield
        return
    [folder] = found
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def _package_of(module: str) -> str:
    """Return the installed package of a loaded module, with its version; "" where it is none."""
    file, top = getattr(sys.modules.get(module), "__file__", None), module.partition(".")[0]
    if (
        file is None
        or Path(file).parents[module.count(".") + _is_package(file)] not in _installed()
    ):
        return ""
    [name, *_] = packages_distributions().get(top, [top])
    return f"{name} {version(name)}" if top in packages_distributions() else top


def _is_package(file: str | Path) -> bool:
    return Path(file).name == "__init__.py"


def _digest(module: str) -> str:
    """Return the hash of a module's source; of an installed package, name and version."""
    if package := _package_of(module):
        return package
    total = hashlib.sha256()
    for name, file in sorted(_sources(module).items()):
        content = file.read_bytes() if file.is_file() else b""
        total.update(f"{name} {len(content)}\n".encode() + content)
    return total.hexdigest()[:16]


def _sources(module: str) -> dict[str, Path]:
    """Return the files of a module and of what it imports from beside it, by module."""
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if file is None:
        return {}
    start = Path(file)
    root = start.parents[module.count(".") + _is_package(start)]
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file_of(name, root)
        if path is None or name in found:
            continue
        found[name] = path
        parents = name.split(".")[:-1]
        waiting += [".".join(parents[: n + 1]) for n in range(len(parents))]
        if path.suffix == ".py":
            waiting += _imported(path, name)
    return found or {module: start}


def _file_of(module: str, root: Path) -> Path | None:
    """Return the file of a module below a folder; None where it is elsewhere."""
    base = root.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _imported(path: Path, module: str) -> list[str]:
    """Return the names of what a file may import, at its top or inside functions."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # whoever runs it says so
        return []
    names: list[str] = []
    package = module.split(".") if _is_package(path) else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)]
    return [name for name in names if name]


@cache
def _installed() -> set[Path]:
    """Return the folders of packages, where what lies beside a module is not a user's own."""
    paths = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    return {Path(path) for path in paths}


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
