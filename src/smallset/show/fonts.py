"""Find installed fonts that have the characters of the class names."""

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

PREFERRED = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "Microsoft YaHei", "PingFang SC", "Hiragino Sans", "SimHei", "Arial Unicode MS", "Noto Sans",
)  # fmt: skip


class FontChoice(NamedTuple):
    """Fonts to use in this order, and the characters that none of them has."""

    families: list[str]
    missing: str


def choose_fonts(texts: Iterable[str]) -> FontChoice:
    """Choose fonts that together have every character, matplotlib's own first.

    Args:
        texts: What will be written.
    """
    families = ["DejaVu Sans"]
    missing = {c for text in texts for c in text if not c.isspace()} - _characters(families[0])
    if missing:
        # Keeping a script in one font looks right, so those that have most of it go first.
        installed = {font.name for font in font_manager.fontManager.ttflist}
        known = [name for name in PREFERRED if name in installed]
        others = sorted(installed - set(known))
        for name in (*known, *others):
            found = missing & _characters(name)
            if found:
                families.append(name)
                missing -= found
            if not missing:
                break
    return FontChoice(families, "".join(sorted(missing)))


@cache
def _characters(family: str) -> frozenset[str]:
    try:
        path = font_manager.findfont(family, fallback_to_default=False)
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (ValueError, RuntimeError, OSError):  # not installed, or a format freetype lacks
        return frozenset()
