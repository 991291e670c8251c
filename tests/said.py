"""Every sentence that smallset can say in two languages, read from its source."""

import ast
import re
from pathlib import Path

SRC = Path(__file__).parents[1] / "src/smallset"
CALLS = {"text", "say", "T", "t"}


def said():
    """Return the templates by where they stand."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if is_call and node.func.id in CALLS and node.args:
                [first, *_] = node.args
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.setdefault(first.value, path.name)
    for path in sorted((SRC / "show/report/templates").iterdir()):
        content = path.read_text(encoding="utf-8")
        for match in re.finditer(r'\b[tT]\(\s*"((?:[^"\\]|\\.)*)"', content):
            found.setdefault(match.group(1), path.name)
        # {% for head in ("seeds", "train") %} ... {{ t(head) }}
        for match in re.finditer(r"\{% for head in \((.*?)\) %\}", content):
            for word in re.findall(r'"(.*?)"', match.group(1)):
                found.setdefault(word, path.name)
    return found
