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
BREAKS = re.compile(r"(?<=\w)[_+](?=[^\W\d])")
"""Where a long name in a sentence may go on in the next line."""


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
    made.filters["percent"] = percent
    made.filters["probability"] = probability
    return made


def both(sentence: Text) -> Markup:
    """Return a sentence in both languages; the page's style shows one of them.

    Args:
        sentence: What to say; its values are escaped.
    """
    shown = _as_written(sentence)
    said = {lang: BREAKS.sub(r"\g<0><wbr>", str(escape(shown.say(lang)))) for lang in LANGS}
    return Markup("".join(f"{OPENS[lang]}{said[lang]}</span>" for lang in LANGS))


def signed(number: float, form: str = "+.1f") -> str:
    """Return a number as a page writes it: a minus is not a hyphen."""
    return format(number, form).replace("-", "\N{MINUS SIGN}", 1)


def percent(share: float, digits: int = 1) -> str:
    """Return a share in percent; what is not quite all is no 100%, as in common.js.

    Example:
        >>> [percent(share) for share in (1.0, 0.99996, 0.5, 0.0)]
        ['100.0%', '>\\xa099.9%', '50.0%', '0.0%']
    """
    said, least = f"{share:.{digits}%}", 10.0**-digits
    if share > 0 and float(said[:-1]) == 0:
        return f"<\N{NO-BREAK SPACE}{least:.{digits}f}%"
    if share < 1 and float(said[:-1]) == 100:
        return f">\N{NO-BREAK SPACE}{100 - least:.{digits}f}%"
    return said


def probability(p: float, digits: int = 1) -> str:
    """Return what a network says of a class, which is never quite all or nothing."""
    return percent(min(max(p, 1e-9), 1 - 1e-9), digits)


class _Number(float):
    """As a page writes it."""

    def __format__(self, form: str) -> str:
        number, share = float(self), re.fullmatch(r"\.(\d)%", form)
        if number < 0:
            return signed(number, form)
        return percent(number, int(share[1])) if share else format(number, form)


def _as_written(sentence: Text) -> Text:
    values = {
        name: _as_written(value) if isinstance(value, Text)
        else _Number(value) if isinstance(value, float)
        else value
        for name, value in sentence.values.items()
    }  # fmt: skip
    return Text(sentence.template, values)


def named(name: str) -> Markup:
    """Return a name that may break after an underscore or a plus, as in common.js."""
    return Markup("<wbr>").join(re.split(r"(?<=[_/-])(?!\d)|(?<=\w\+)(?=\w)", name))


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
