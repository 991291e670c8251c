"""The house: a file imports rooms above its own in the list, and no two files form a circle."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src/smallset"
ORDER = (
    "errors", "memory", "seeds", "words", "files", "reading", "store", "contents", "own_code",
    "settings", "groups", "config", "recipes", "compute", "stats", "paired", "progress", "record",
    "data", "models", "clean", "learn", "compare", "choose", "findings", "show", "use", "api",
    "cli", "__init__", "__main__",
)  # fmt: skip
"""The way of the data; a room is a folder, or a file at the top."""


def imported(path, root):
    """Return the files of ours that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            here = ("smallset", *path.relative_to(root).parts)[: -node.level] if node.level else ()
            base = ".".join((*here, node.module) if node.module else here)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            first, *parts = name.split(".")
            if first == "smallset" and (root.joinpath(*parts).with_suffix(".py")).exists():
                found.add(root.joinpath(*parts).with_suffix(".py"))
    return found


def faults(root):
    """Return every import that leads down the list, and a circle of files if there is one."""
    files = sorted(root.rglob("*.py"))
    room = {file: file.relative_to(root).parts[0].removesuffix(".py") for file in files}
    graph = {file: imported(file, root) for file in files}
    found = [
        f"{file.relative_to(root)} imports {other.relative_to(root)}"
        for file, others in graph.items()
        for other in others
        if ORDER.index(room[other]) > ORDER.index(room[file])
    ]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = [str(file.relative_to(root)) for file in error.args[1]]
        found.append(f"a circle: {' <- '.join(circle)}")
    return found


def test_every_file_imports_the_rooms_above_it_and_none_goes_round_in_a_circle():
    assert faults(SRC) == []


def test_two_rooms_have_no_file_of_one_name():
    names = [file.name for file in SRC.rglob("*.py") if file.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("data/noise.py", "def late():\n    from smallset.learn import train", "learn/train.py"),
        ("stats.py", "import smallset.files.nothing, smallset.show.embed", "show/embed.py"),
        (
            "data/noise.py",
            "def late():\n    from smallset.data.prepare import DataSource",
            "circle",
        ),
        ("data/listing.py", "from smallset.data import split", "circle"),
        ("data/listing.py", "def late():\n    from . import split", "circle"),
        ("data/listing.py", "def late():\n    from .split import anything", "circle"),
        ("data/listing.py", "def late():\n    from ..learn.train import fit", "learn/train.py"),
    ],
)
def test_a_wrong_import_is_found_where_it_hides(tmp_path, file, line, said):
    for path in SRC.rglob("*.py"):
        copy = tmp_path / path.relative_to(SRC)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / file).write_text(f"{(tmp_path / file).read_text()}\n{line}\n")
    [fault] = faults(tmp_path)
    assert said in fault


def test_the_readme_lists_the_rooms_in_this_order():
    readme = (SRC.parents[1] / "README.md").read_text(encoding="utf-8")
    listing = readme.split("src/smallset/\n")[1].split("```")[0]
    named = [line[2:].split("  ")[0] for line in listing.splitlines() if line[2:3] != " "]
    rooms = [word.rstrip("/").removesuffix(".py") for line in named for word in line.split()]
    assert rooms == [*ORDER[:-2], "studies"]


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


def test_check_waits_for_no_torch(split_folders):
    code = f"from smallset import api; images, _ = api.check({str(split_folders)!r}); assert images"
    assert not loaded_after(code) & {"torch", "matplotlib", "sklearn", "scipy.stats"}


def test_names_that_are_not_loaded_yet_can_be_completed():
    code = "import smallset, smallset.api as api; assert {*smallset.__all__} <= {*dir(smallset)}"
    assert "torch" not in loaded_after(f"{code}; assert {{*api.__all__}} <= {{*dir(api)}}")
