"""Sentences in English and Chinese: the English template is the key of the Chinese one."""

import locale
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from smallset.errors import ConfigError

Lang = Literal["en", "zh"]
LANGS: tuple[Lang, ...] = ("en", "zh")


class Text(NamedTuple):
    """A sentence that can be said in either language."""

    template: str
    """English, with places such as "{images:,}"."""
    values: Mapping[str, Any]
    """What goes into the places; a `Text` among them is said in the same language."""

    def say(self, lang: Lang) -> str:
        """Return the sentence."""
        inner = {k: v.say(lang) if isinstance(v, Text) else v for k, v in self.values.items()}
        said = translate(self.template, lang).format(**inner)
        return singular(said) if lang == "en" else said


_ONE = re.compile(
    r"(?<![\d.,+±\u2013-])\b1 "
    r"((?:more |test |val |training |generated |out-of-fold |pretrained )?)"
    r"(image|picture|epoch|class|seed|run|fold|check|label|mistake)(?:es|s)\b"
    r"(?: (are|were|have|lie)\b)?"
)
_VERBS = {"are": " is", "were": " was", "have": " has", "lie": " lies"}


def singular(sentence: str) -> str:
    """Return an English sentence that counts one of something, with the singular.

    Example:
        >>> singular("1 test images are left of 21 images, in 1.1 epochs")
        '1 test image is left of 21 images, in 1.1 epochs'
    """
    return _ONE.sub(lambda m: f"1 {m[1]}{m[2]}{_VERBS.get(m[3], '')}", sentence)


def counted(count: int, noun: str) -> str:
    """Return how many there are of something, with its noun in the singular or plural.

    Example:
        >>> counted(1, "arm"), counted(0, "class"), counted(1200, "image")
        ('1 arm', '0 classes', '1,200 images')
    """
    plural = "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{'' if count == 1 else plural}"


def text(template: str, **values: Any) -> Text:
    """Return a sentence with its values, to be said later.

    Example:
        >>> text("{count:,} images", count=3).say("zh")
        '3 张图像'
    """
    return Text(template, values)


def joined(texts: Sequence[str | Text]) -> Text:
    """Return texts joined by commas, to be said in one language."""
    first, *others = texts
    whole = first if isinstance(first, Text) else text("{said}", said=first)
    for each in others:
        whole = text("{first}, {second}", first=whole, second=each)
    return whole


def listed(names: Sequence[str | Text]) -> Text:
    """Return names joined by commas and, before the last, by "and".

    Example:
        >>> listed(["a", "b", "c"]).say("en"), listed(["a", "b", "c"]).say("zh")
        ('a, b and c', 'a、b 与 c')
    """
    *first, last = names
    return text("{a} and {b}", a=joined(first), b=last) if first else joined([last])


def sentences(said: Sequence[Text]) -> Text:
    """Return sentences after each other, with a space between them in English.

    Example:
        >>> sentences([text("Only {n}.", n=1), text("Or {n}.", n=2)]).say("en")
        'Only 1. Or 2.'
    """
    first, *others = said
    for each in others:
        first = text("{first} {claim}", first=first, claim=each)
    return first


def some(names: Sequence[str | Text], most: int) -> Text:
    """Return the first of some names joined by commas, and how many more there are.

    Example:
        >>> some(["a", "b", "c"], 2).say("en")
        'a, b, and 1 more'
    """
    first = joined(names[:most])
    more = len(names) - most
    return text("{names}, and {more} more", names=first, more=more) if more > 0 else first


def recognised(said: str, templates: Sequence[str] = ()) -> Text:
    """Return words as they stand in a file so that they can be said in Chinese, if they are known.

    Args:
        said: In English, or whatever a user wrote, which stays as it is.
        templates: What it may be too, filled with something that is known.

    Example:
        >>> recognised("Losses").say("zh"), recognised("My {own}").say("zh")
        ('损失函数', 'My {own}')
    """
    if said in catalogue():
        return Text(said, {})
    for template in templates:
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(template))
        found = re.fullmatch(pattern, said, re.DOTALL)
        values = found.groupdict() if found else {}
        if any(value in catalogue() for value in values.values()):
            return Text(template, {name: recognised(value) for name, value in values.items()})
    return Text("{said}", {"said": said})


def translate(template: str, lang: Lang) -> str:
    """Return a template in a language; English where nobody has translated it."""
    return catalogue().get(template, template) if lang == "zh" else template


@cache
def catalogue() -> dict[str, str]:
    """Return every English template with its Chinese one."""
    return tomllib.loads(files("smallset").joinpath("zh.toml").read_text(encoding="utf-8"))


def language(setting: str = "auto") -> Lang:
    """Return the language to write in.

    Args:
        setting: "en" or "zh"; "auto" takes that of the locale, English where it is another one.

    Raises:
        ConfigError: If it is none of them.
    """
    if setting not in ("auto", *LANGS):
        raise ConfigError(
            f"the language is {', '.join(LANGS)}, or auto for that of the locale, got {setting!r}"
        )
    if setting == "auto":
        names = ("LC_ALL", "LC_MESSAGES", "LANG")
        named = next((os.environ[name] for name in names if os.environ.get(name)), None)
        setting = named or locale.getlocale()[0] or "en"
    return "zh" if setting.lower().startswith(("zh", "chinese")) else "en"
