"""Every sentence that smallset can say in two languages, read from its source."""

import ast
import re
from pathlib import Path

SRC = Path(__file__).parents[1] / "src/smallset"
CALLS = {"text", "say", "T", "t"}


def described():
    """Give the sentences of the OpenAPI document that the page of serve shows."""
    source = (SRC / "use/serve.py").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.AsyncFunctionDef():
                yield from (part.replace("\n", " ") for part in
                            (ast.get_docstring(node) or "").split("\n\n") if part)  # fmt: skip
            case ast.keyword(arg="response_description", value=ast.Constant(value=str(sentence))):
                yield sentence
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    match key, value:
                        case ast.Constant(value=int() | "description"), ast.Constant(str(sentence)):
                            yield sentence


def said():
    """Return the templates by where they stand."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
                continue
            match node.args[0]:
                case ast.Constant(value=str(template)) if node.func.id in CALLS:
                    found.setdefault(template, path.name)
    for path in sorted(SRC.rglob("templates/*")):
        content = path.read_text(encoding="utf-8")
        # t("one " "sentence") of Jinja, T("one " + "sentence") of JavaScript
        for match in re.finditer(r'\b[tT]\(\s*((?:"(?:[^"\\]|\\.)*"\s*\+?\s*)+)', content):
            pieces = re.findall(r'"((?:[^"\\]|\\.)*)"', match.group(1))
            found.setdefault("".join(pieces), path.name)
        # {% for head in ("seeds", "train") %} ... {{ t(head) }}
        for match in re.finditer(r"(?s)\{% for head in \((.*?)\) %\}", content):
            for word in re.findall(r'"(.*?)"', match.group(1)):
                found.setdefault(word, path.name)
    return found
