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
        wide = [
            n for n, line in enumerate(path.read_text().splitlines(), 1) if len(line) > MAX_COLUMNS
        ]
        faults += [f"over {MAX_COLUMNS} columns: {path.relative_to(SRC)}:{n}" for n in wide]
    print(f"{len(files)} files, {sum(lines.values()):,} lines; the longest {max(lines.values())}, "
          f"the median {statistics.median(lines.values()):.0f}")  # fmt: skip
    print(f"{len(functions)} functions; the longest {max(functions.values())}, the median "
          f"{statistics.median(functions.values()):.0f}, {short:.1%} of {SHORT} lines or fewer")  # fmt: skip
    print(f"{len(classes)} classes; the longest {max(classes.values())}")
    print(f"{sum(text.count('# fmt: skip') for text in files.values())} x fmt: skip, "
          f"{sum(text.count('# noqa') for text in files.values())} x noqa")  # fmt: skip
    print("\n".join(faults) or "all within their limits")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
