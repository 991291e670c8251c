"""Find installed fonts that have the characters of the class names."""

import contextlib
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

PREFERRED = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "Microsoft YaHei", "PingFang SC", "Hiragino Sans", "SimHei", "Arial Unicode MS", "Noto Sans",
)  # fmt: skip

STYLE: dict[Any, Any] = {"font.size": 9, "text.parse_math": False}
"""Of all figures; a dollar in a name is one, and begins no formula of TeX."""


EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH",
              "HALFWIDTH")  # fmt: skip
"""How the Unicode names of characters begin that are in Noto Sans CJK."""


class FontChoice(NamedTuple):
    """Fonts to use in this order, and the characters that none of them has."""

    families: list[str]
    missing: str

    @property
    def note(self) -> str:
        """Return which characters are missing and what brings them; empty where none is."""
        if not self.missing:
            return ""
        remedies = sorted({_remedy(character) for character in self.missing} - {""})
        advice = f"install {' and '.join(remedies)}" if remedies else "give them other names"
        return (
            f"no installed font has {self.missing[:20]!r} of the class names, so figures show "
            f"boxes; {advice}"
        )


def choose_fonts(texts: Iterable[str]) -> FontChoice:
    """Choose fonts that together have every character, matplotlib's own first."""
    families = ["DejaVu Sans"]
    missing = {c for text in texts for c in text if not c.isspace()} - _characters(families[0])
    if missing:
        missing = _add_fonts(families, missing)
    if missing and _find_new_fonts():
        missing = _add_fonts(families, missing)
    return FontChoice(families, "".join(sorted(missing)))


def _remedy(character: str) -> str:
    """Return a font that has a character and that matplotlib can draw; empty where none is known.

    Emoji of several colours are pictures, which it cannot draw: a font of outlines has them.
    """
    if unicodedata.name(character, "").startswith(EAST_ASIAN):
        return "Noto Sans CJK (Debian: apt install fonts-noto-cjk)"
    match unicodedata.category(character)[0]:
        case "S":
            return "Symbola (Debian: apt install fonts-symbola)"
        case "L" | "M" | "N" | "P":
            return "Noto Sans of that script (Debian: apt install fonts-noto-core)"
    return ""


def _add_fonts(families: list[str], missing: set[str]) -> set[str]:
    """Add fonts that have missing characters; return the characters still missing."""
    # Keeping a script in one font looks right, so those that have most of it go first.
    installed = {font.name for font in font_manager.fontManager.ttflist}
    known = [name for name in PREFERRED if name in installed]
    others = sorted(installed - set(known) - set(families))
    for name in (*known, *others):
        # Its last resort has a box for every character there is.
        found = set() if name.startswith("Last Resort") else missing & _characters(name)
        if found:
            families.append(name)
            missing = missing - found
        if not missing:
            break
    return missing


@cache
def _find_new_fonts() -> int:
    """Add fonts that were installed after matplotlib wrote its list; return how many."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    added = 0
    for path in font_manager.findSystemFonts():
        if path not in known:
            with contextlib.suppress(RuntimeError, OSError, ValueError):  # freetype cannot read it
                font_manager.fontManager.addfont(path)
                added += 1
    return added


@cache
def _characters(family: str) -> frozenset[str]:
    fonts = [font for font in font_manager.fontManager.ttflist if font.name == family]
    if not fonts:
        return frozenset()
    try:
        return frozenset(map(chr, FT2Font(fonts[0].fname).get_charmap()))
    except (ValueError, RuntimeError, OSError):  # gone since, or a format freetype lacks
        return frozenset()
