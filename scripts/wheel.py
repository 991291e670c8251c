"""Build the wheel, install it into a clean environment, and train a network with it.

    .venv/bin/python scripts/wheel.py [--lowest]

The environment holds the wheel and what it depends on, and nothing else: no package of the tests,
no source. It links the files that .venv has already, for torch alone is five gigabytes. With
--lowest, the light dependencies are installed at the lowest versions that pyproject.toml allows,
and tests that need nothing else run there instead.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LIGHT = ("pillow", "pydantic", "typer", "rich", "jinja2", "safetensors", "jaxtyping")
TESTS = ("tests/test_config.py", "tests/test_words.py", "tests/test_cli.py", "tests/data",
         "tests/record")  # fmt: skip


def main() -> None:
    """Do it, in a folder that goes away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lowest", action="store_true")
    lowest = parser.parse_args().lowest
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in project["dependencies"]]
    with tempfile.TemporaryDirectory(prefix="smallset-wheel-") as place:
        folder = Path(place)
        pip("wheel", "--no-deps", "--wheel-dir", folder, ROOT)
        [wheel] = folder.glob("*.whl")
        venv.create(folder / "env", with_pip=False)
        python = folder / "env/bin/python"
        [packages] = (folder / "env").glob("lib/python*/site-packages")
        if lowest:
            tests = project["optional-dependencies"]["test"]
            wanted += [Requirement(text) for text in tests]
            pins = [f"{each.name}=={floor(each)}" for each in wanted if each.name in LIGHT]
            print("lowest:", ", ".join(pins), flush=True)
            pip("--python", python, "install", *pins)
        link(wanted, packages)
        pip("--python", python, "install", "--no-deps", "--no-index", wheel)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment |= {"SMALLSET_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "2"}
        run = {"cwd": folder, "env": environment, "check": True}
        where = "import smallset, pathlib; print(pathlib.Path(smallset.__file__).parent)"
        shown = subprocess.run([python, "-c", where], capture_output=True, text=True, **run)
        assert Path(shown.stdout.strip()) == packages / "smallset", shown.stdout
        if lowest:
            # Shapes are checked at run time by the newest jaxtyping, in `make test`.
            options = ["-q", "-o", "addopts=", "-o", "filterwarnings=default"]
            options += ["-p", "no:cacheprovider", "--numprocesses", "2"]
            options += ["--rootdir", ROOT, "-c", ROOT / "pyproject.toml"]
            tests = [ROOT / test for test in TESTS]
            subprocess.run([python, "-m", "pytest", *options, *tests], **run)
            return
        assert (packages / "smallset/py.typed").exists()
        command = folder / "env/bin/smallset"
        subprocess.run([command, "study", "--list"], stdout=subprocess.DEVNULL, **run)
        short = ["train", "sample:shapes,scale=0.2", "--out", "demo", "--epochs", "3"]
        subprocess.run([command, *short], **run)
        assert (folder / "demo/report.html").stat().st_size > 1e6
        assert len(list((folder / "demo/figures").glob("*.png"))) == 5
        print(f"{wheel.name} works outside of the checkout")


def pip(*arguments: object) -> None:
    """Run pip."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, *map(str, arguments)], check=True)


def floor(requirement: Requirement) -> str:
    """Return the lowest version that a requirement allows."""
    return next(each.version for each in requirement.specifier if each.operator == ">=")


def link(wanted: list[Requirement], packages: Path) -> None:
    """Link the files of packages and of all that they need, where they are not there yet."""
    waiting, seen = [each.name for each in wanted], set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        found = distribution(name)
        waiting += needed(found)
        base = Path(str(found.locate_file("")))
        for part in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (packages / part).exists():
                (packages / part).symlink_to(base / part)


def needed(found: Distribution) -> list[str]:
    """Return the names of what a package needs on this machine, its extras left out."""
    every = [Requirement(text) for text in found.requires or ()]
    return [each.name for each in every if not each.marker or each.marker.evaluate({"extra": ""})]


if __name__ == "__main__":
    main()
