"""The dependency direction of the package, written down as a table."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src/smallset"
ORDER = (
    "errors", "seeds", "words", "config", "own_code", "files", "compute", "stats", "progress",
    "record", "data", "models", "clean", "learn", "compare", "choose", "findings", "show", "use",
    "api", "cli", "__init__", "__main__",
)  # fmt: skip
"""The way of the data; a file imports rooms that stand before its own, and no others."""

# For as long as `clean` plans runs itself.
EXCEPTIONS = {
    "progress.py": {"learn"}, "clean/folder.py": {"learn"}, "clean/judges.py": {"learn"},
    "clean/training_labels.py": {"learn"},
}  # fmt: skip


def room(path):
    parts = path.relative_to(SRC).parts
    return parts[0] if len(parts) > 1 else path.stem


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "smallset":
                yield from parts[1:2] or [alias.name for alias in node.names]


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_a_file_imports_only_the_rooms_below(path):
    below = set(ORDER[: ORDER.index(room(path)) + 1])
    allowed = below | EXCEPTIONS.get(path.relative_to(SRC).as_posix(), set())
    assert set(imported_rooms(path)) <= allowed


def loaded_after(code):
    program = f"{code}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["smallset", "smallset.cli", "smallset.config"])
def test_light_modules_load_nothing_heavy(module):
    assert not loaded_after(f"import {module}") & {"torch", "matplotlib", "sklearn", "scipy"}


def test_records_findings_and_pictures_need_no_torch():
    rooms = ("record", "findings", "show")
    files = [p.relative_to(SRC) for name in rooms for p in (SRC / name).rglob("*.py")]
    modules = [".".join(("smallset", *file.with_suffix("").parts)) for file in files]
    code = f"import smallset.stats, {', '.join(modules)}"
    assert "torch" not in loaded_after(code)
