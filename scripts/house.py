"""Print the numbers of the house, and fail where one is over its limit.

    python scripts/house.py

What a file may import is not asked here: tests/test_layers.py holds that.
"""

import ast
import statistics
import sys
from pathlib import Path

SRC = Path(__file__).parents[1] / "src/smallset"
MAX_FILE, MAX_FUNCTION, MAX_CLASS, SHORT, SHARE_SHORT = 400, 80, 200, 45, 0.96
MAX_COLUMNS = 100


def main() -> int:
    """Print, and return the exit status."""
    files = {path: path.read_text(encoding="utf-8") for path in sorted(SRC.rglob("*.py"))}
    templates = [path for path in SRC.rglob("templates/*") if path.is_file()]
    lines = {path: text.count("\n") for path, text in files.items()}
    functions: dict[str, int] = {}
    classes: dict[str, int] = {}
    for path, text in files.items():
        for node in ast.walk(ast.parse(text)):
            size = getattr(node, "end_lineno", 0) - getattr(node, "lineno", 0) + 1
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions[f"{path.relative_to(SRC)}:{node.lineno} {node.name}"] = size
            elif isinstance(node, ast.ClassDef):
                classes[f"{path.relative_to(SRC)}:{node.lineno} {node.name}"] = size
    short = sum(size <= SHORT for size in functions.values()) / len(functions)
    long_files = [f"{path.relative_to(SRC)} ({n})" for path, n in lines.items() if n > MAX_FILE]
    faults = [f"file over {MAX_FILE} lines: {name}" for name in long_files]
    for kind, sizes, limit in (
        ("function", functions, MAX_FUNCTION),
        ("class", classes, MAX_CLASS),
    ):
        faults += [f"{kind} over {limit} lines: {n} ({s})" for n, s in sizes.items() if s > limit]
    if short < SHARE_SHORT:
        faults.append(f"{short:.1%} of the functions have {SHORT} lines or fewer, under 96 %")
    for path in templates:
        written = enumerate(path.read_text().splitlines(), 1)
        wide = [n for n, line in written if len(line) > MAX_COLUMNS]
        faults += [f"over {MAX_COLUMNS} columns: {path.relative_to(SRC)}:{n}" for n in wide]
    total, median = sum(lines.values()), statistics.median(lines.values())
    print(
        f"{len(files)} files, {total:,} lines; longest {max(lines.values())}, median {median:.0f}"
    )
    longest, median = max(functions.values()), statistics.median(functions.values())
    print(f"{len(functions)} functions; longest {longest}, median {median:.0f}, ", end="")
    print(f"{short:.1%} of {SHORT} lines or fewer")
    print(f"{len(classes)} classes; the longest {max(classes.values())}")
    skips, noqas = (
        sum(text.count(mark) for text in files.values()) for mark in ("# fmt: skip", "# noqa")
    )
    print(f"{skips} x fmt: skip, {noqas} x noqa")
    print("\n".join(faults) or "all within their limits")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
