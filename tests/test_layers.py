"""The dependency direction of the package, written down as a table."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src/smallset"
BASE = {"errors", "config", "paths", "seeds", "words"}
MAY_IMPORT = {  # room -> rooms of ours it may import, beside itself
    "errors": set(),
    "config": {"errors"},
    "paths": {"errors"},
    "seeds": set(),
    "words": set(),
    "data": BASE,
    "models": BASE | {"data"},
    "learn": BASE | {"data", "models"},
    "compare": BASE | {"data", "models", "learn"},
    "clean": BASE | {"data", "models", "learn", "compare"},
    "show": BASE | {"data", "learn", "compare", "clean"},
    "use": BASE | {"data", "learn", "clean", "show"},
    "api": BASE | {"data", "learn", "compare", "clean", "show", "use"},
    "cli": BASE | {"data", "models", "learn", "compare", "clean", "show", "use", "api"},
    "__init__": BASE | {"learn", "compare", "api"},
    "__main__": {"cli"},
}


# A run may be asked to clean its labels first, and cleaning plans and builds networks itself: the
# planner imports it where the setting is there.
EXCEPTIONS = {"learn/plan.py": {"clean"}}


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
    here = room(path)
    allowed = MAY_IMPORT[here] | {here} | EXCEPTIONS.get(path.relative_to(SRC).as_posix(), set())
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


def test_pictures_are_drawn_without_torch():
    code = (
        "import smallset.show.figures, smallset.show.study, smallset.show.report.run_page, "
        "smallset.show.report.study_page, smallset.show.report.clean_page, "
        "smallset.compare.findings"
    )
    assert "torch" not in loaded_after(code)
