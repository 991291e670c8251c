"""From a template and data to one HTML file with everything inside."""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from smallset.errors import ConfigError
from smallset.words import LANGS, Lang, Text, catalogue, text

PLACES = ("smallset.show.report", "smallset.use")
"""Packages with a folder of templates."""
OPENS = {lang: f'<span class="{lang}" lang="{lang}">' for lang in LANGS}
"""Before what is said in a language."""


def render(template: str, *, lang: Lang, data: Mapping[str, Any], **context: Any) -> str:
    """Return a page as text.

    Args:
        template: Name of a file in `templates`.
        lang: The language it opens in; it can be switched in the page.
        data: What the page's scripts work on; becomes JSON.
    """
    page = environment().get_template(template).render(
        lang=lang,
        data=Markup(page_json({**data, "words": catalogue()})),
        css=Markup(page_file("page.css")),
        script=lambda name: Markup(page_file(name)),
        **context,
    )  # fmt: skip
    # A space between two sentences is one of English: it goes where Chinese does not show it.
    return re.sub(rf"(?<=[。：；！？]</span>)\s+({OPENS['en']})", r"\1 ", page)  # noqa: RUF001


def room_for_images(page: str, budget_mb: float, num_images: int) -> float:
    """Return how many bytes of base64 a page may still take.

    Args:
        budget_mb: What it may take in all, in 10^6 bytes.

    Raises:
        ConfigError: If the page takes more already.
    """
    taken = len(page.encode())
    if taken > 1e6 * budget_mb:
        raise ConfigError(
            f"the page takes {taken / 1e6:.1f} MB without any image, the budget is "
            f"{budget_mb:g} MB; give it more (--budget)"
        )
    # A key, quotes and a comma each; a sentence on what was left out.
    return max(1e6 * budget_mb - taken - 10 * num_images - 1000, 0)


@cache
def environment() -> Environment:
    """Return what finds and fills templates; text in them is escaped."""
    places = [PackageLoader(place) for place in PLACES]
    made = Environment(
        loader=ChoiceLoader(places), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.globals["t"] = lambda template, **values: both(text(template, **values))
    made.filters["both"] = both
    made.filters["named"] = named
    made.filters["signed"] = signed
    return made


def both(sentence: Text) -> Markup:
    """Return a sentence in both languages; the page's style shows one of them.

    Args:
        sentence: What to say; its values are escaped.
    """
    shown = _with_minus(sentence)
    return Markup("".join(f"{OPENS[lang]}{escape(shown.say(lang))}</span>" for lang in LANGS))


def signed(number: float, form: str = "+.1f") -> str:
    """Return a number as a page writes it: a minus is not a hyphen."""
    return format(number, form).replace("-", "\N{MINUS SIGN}", 1)


class _Negative(float):
    def __format__(self, form: str) -> str:
        return signed(float(self), form)


def _with_minus(sentence: Text) -> Text:
    values = {
        name: _with_minus(value) if isinstance(value, Text)
        else _Negative(value) if isinstance(value, float) and value < 0
        else value
        for name, value in sentence.values.items()
    }  # fmt: skip
    return Text(sentence.template, values)


def named(name: str) -> Markup:
    """Return a name that may break after an underscore, as `named` of common.js does."""
    return Markup("<wbr>").join(re.split(r"(?<=[_/-])", name))


def page_json(content: Any) -> str:
    """Return JSON that is safe inside a script element, whatever the names in it are.

    Args:
        content: Plain values and numpy arrays; not-a-number is an error.
    """
    shown = json.dumps(
        content, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain
    )
    for character in "<>&\u2028\u2029":
        shown = shown.replace(character, f"\\u{ord(character):04x}")
    return shown


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"no JSON for {type(value).__name__}")


def page_file(name: str, folder: str = "templates") -> str:
    """Return a file of the pages, or one of those that are used beside a network at work."""
    places = (files(each).joinpath(folder, name) for each in PLACES)
    return next(each for each in places if each.is_file()).read_text(encoding="utf-8")
