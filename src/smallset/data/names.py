"""Names of classes and files that could not be written, drawn or told apart later."""

import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from smallset.data.listing import ImageSet
from smallset.errors import DataError
from smallset.words import counted

UNPRINTABLE = frozenset(["Cc", "Cs", "Zl", "Zp"])  # control, not UTF-8, line and paragraph ends
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They turn the direction of the text that follows, and so of a table or page."""
FORMULA = ("=", "+", "-", "@")


_SPLIT_NAME = re.compile(
    r"(?:images?|data)?[\W_]*"
    r"(?:(?P<train>tr(?:ai)?n(?:ing)?|训练)"
    r"|(?P<val>val(?:id(?:ation)?)?|dev(?:elopment)?|hold[\W_]*out|验证)"
    r"|(?P<test>te?st(?:ing)?|eval(?:uation)?|测试)|(?P<extra>extra))"
    r"(?:sets?|images?|imgs?|data|splits?|集|[\W_\d])*",
    re.IGNORECASE,
)


def split_meant(name: str) -> str | None:
    """Return the split that a name looks like, such as "val" for "Validation_set"."""
    found = _SPLIT_NAME.fullmatch(name)
    return found and found.lastgroup


def with_sound_names(images: ImageSet, where: Path) -> ImageSet:
    """Return the images, with a note where names need one.

    Names stand in tables and pages as they are. One that begins like a formula stays as it is too,
    so that tables read back; a spreadsheet may run it, which the note says.

    Args:
        where: The folder or the manifest that lists them.

    Raises:
        DataError: If a path is not UTF-8, or a class has control characters in its name, is
            blank, or differs from another only in case, spaces, invisible characters or the
            spelling of accents.
    """
    odd = [path for path in images.paths if not _is_utf8(path)]
    if odd and (encoding := sys.getfilesystemencoding()) != "utf-8":
        raise DataError(
            f"the locale reads file names as {encoding}, and {len(odd)} below "
            f"{_shown(str(where))} are not; set PYTHONUTF8=1"
        )
    if odd:
        raise DataError(
            f"not UTF-8: {counted(len(odd), 'file name')} below {_shown(str(where))}, which no "
            f"table can hold; rename {', '.join(map(_shown, odd[:3]))} (convmv does many)"
        )
    for name in images.classes:
        if TURNING & set(name) or any(unicodedata.category(c) in UNPRINTABLE for c in name):
            raise DataError(
                f"the class {name!a} of {_shown(str(where))} has control characters in "
                "its name; rename it"
            )
    _refuse_alike(images.classes, where)
    live = [name for name in (*images.classes, *images.paths) if name.startswith(FORMULA)]
    if not live:
        return images
    note = (
        f"{counted(len(live), 'name')} with the beginning of a formula, such as {live[0]}: "
        "tables hold each as it is, and a spreadsheet may run it; import such columns as text"
    )
    return replace(images, notes=(*images.notes, note))


def _refuse_alike(classes: Sequence[str], where: Path) -> None:
    """Refuse classes that were probably meant to be one, and one without a name."""
    seen: dict[str, str] = {}
    for name in classes:
        visible = "".join(c for c in name if unicodedata.category(c) != "Cf")
        key = " ".join(unicodedata.normalize("NFC", visible).casefold().split())
        if not key:
            raise DataError(f"a class of {where} has the name {name!r}; give it one that shows")
        if key in seen:
            raise DataError(
                f"the classes {seen[key]!r} and {name!r} of {where} differ in case, "
                "spaces, invisible characters or the spelling of accents alone "
                f"({seen[key]!a}, {name!a}); write them alike, or give one another name"
            )
        seen[key] = name


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
