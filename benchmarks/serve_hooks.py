"""What schemathesis needs to know of `smallset serve`: a body is a picture, not any bytes.

    smallset serve RUN --port 8000 &
    SCHEMATHESIS_HOOKS=serve_hooks st run http://127.0.0.1:8000/openapi.json --checks all

`st` comes with `pip install schemathesis`, in an environment of its own; it looks for hooks in the
folder where it runs. On a slow machine add `--request-timeout 100`.
"""

import struct
import zlib

import schemathesis  # pyright: ignore[reportMissingImports]
from hypothesis import strategies as st


def png(colour, side):
    """A picture of one colour."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(colour) * side) * side)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    )


bytes_of_colours = st.tuples(*[st.integers(0, 255)] * 3)
pictures = st.builds(png, bytes_of_colours, st.integers(1, 40))
schemathesis.openapi.format("binary", pictures)
for kind in ("image/*", "image/png", "application/octet-stream"):
    schemathesis.openapi.media_type(kind, pictures)
