"""The parts of a multipart/form-data body, exactly as they came (RFC 7578).

What python-multipart does for servers that stream to disk; here a body is in memory and its parts
are few, and whatever is not well formed is refused.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

MAX_HEADER = 8_000  # bytes, of one part
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_DISPOSITION = re.compile(r"content-disposition:[ \t]*form-data((?:;.*)?)", re.IGNORECASE)
_PARAMETER = re.compile(r';[ \t]*([\w-]+\*?)=(?:"((?:[^"\\]|\\.)*)"|([^";\s]*))')
# Browsers write a quotation mark in a name as %22, and backslashes as they are; curl escapes both.
_ESCAPED = re.compile(r'\\(["\\])')


class Malformed(ValueError):
    """A body is not what its content type says."""


class TooMany(ValueError):
    """A body has more parts than are allowed."""


class Part(NamedTuple):
    """One field of a form."""

    field: str
    filename: str
    """As the client wrote it, never to be used as a path; "" where it wrote none."""
    content: bytes


def boundary_of(content_type: str) -> bytes:
    """Return what separates the parts.

    Raises:
        Malformed: If the content type does not say it.
    """
    found = _BOUNDARY.search(content_type)
    if found is None or not content_type.isascii():
        raise Malformed("the Content-Type of multipart/form-data needs a boundary")
    return (found[1] or found[2]).encode()


def read_parts(body: bytes, boundary: bytes, *, most: int) -> list[Part]:
    """Return the parts of a body.

    Args:
        most: Parts that are allowed.

    Raises:
        Malformed: If the body is cut short, or a part has no name.
        TooMany: If there are more.
    """
    # The first line needs no line end before it; whatever stands above it is no part.
    line = b"\r\n--" + boundary
    body = b"\r\n" + body
    at = body.find(line)
    parts: list[Part] = []
    while at >= 0:
        at += len(line)
        if body.startswith(b"--", at):
            return parts
        if len(parts) == most:
            raise TooMany(f"more than {most} parts")
        # Spaces may follow a boundary (RFC 2046, section 5.1.1).
        start = body.find(b"\r\n", at, at + 100)
        if start < 0 or body[at:start].strip(b" \t"):
            raise Malformed("a boundary of the multipart body is not a line of its own")
        at = body.find(line, start)
        if at >= 0:
            parts.append(_read_part(body[start + 2 : at]))
    raise Malformed("the multipart body is cut short: it does not end with its boundary")


def _read_part(part: bytes) -> Part:
    head, blank, content = part.partition(b"\r\n\r\n")
    if not blank or len(head) > MAX_HEADER:
        raise Malformed("a part of the multipart body has no headers, or too long ones")
    for line in head.decode("utf-8", errors="backslashreplace").split("\r\n"):
        if found := _DISPOSITION.fullmatch(line):
            pairs = _PARAMETER.findall(found[1])
            values = {name.lower(): quoted or bare for name, quoted, bare in pairs}
            if "name" in values:
                return Part(values["name"], _filename(values), content)
    raise Malformed("a part of the multipart body has no Content-Disposition with a name")


def _filename(values: dict[str, str]) -> str:
    charset, quotes, encoded = values.get("filename*", "").partition("''")
    if quotes and charset.lower() == "utf-8":  # of urllib3 before version 2
        return unquote(encoded)
    return _ESCAPED.sub(r"\1", values.get("filename", ""))
