"""What a file is by its first bytes, where it is no picture that smallset reads."""

HEIC, AVIF = "a HEIC picture", "an AVIF picture"
BRANDS = {
    b"heic": HEIC, b"heix": HEIC, b"heim": HEIC, b"heis": HEIC, b"hevc": HEIC, b"hevx": HEIC,
    b"mif1": HEIC, b"msf1": HEIC, b"avif": AVIF, b"avis": AVIF,
    b"crx ": "a raw photograph",
}  # fmt: skip
"""Major brands of ISO media files (ISO/IEC 14496-12, 23008-12); all others are films."""
SIGNATURES = (
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"%PDF", "PDF"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"\x01\x00\x09\x00", "a Windows metafile"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
    (b"\x00\x00\x02\x00", "a cursor (CUR)"),
    (b"icns", "an icon (ICNS)"),
    (b"8BPS", "a Photoshop file"),
    (b"gimp xcf", "a GIMP file"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"DDS ", "a DDS texture"),
    (b"FUJIFILM", "a raw photograph"),
    (b"SIMPLE  =", "a FITS file"),
    (b"version https://git-lfs", "a Git LFS pointer (git lfs pull brings the picture)"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x1aE\xdf\xa3", "a film"),
    (b"#!", "a script"),
)
MARKUP = (
    (b"<svg", "SVG, a drawing"),
    (b"<html", "a web page"),
    (b"<!doctype html", "a web page"),
    (b"<?xml", "XML"),
)

KINDS = tuple(dict.fromkeys([*BRANDS.values(), *dict(SIGNATURES).values(), *dict(MARKUP).values()]))


def kind_of(content: bytes) -> str | None:
    """Return what a file is, for a sentence such as "PDF, which smallset does not read".

    Args:
        content: Its first 512 bytes, or more.
    """
    if content[4:8] == b"ftyp":
        return BRANDS.get(content[8:12], "a film")
    if content[40:44] == b" EMF":
        return "a Windows metafile"
    for start, kind in SIGNATURES:
        if content.startswith(start):
            return kind
    text = content[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(tuple(start for start, _ in MARKUP)):
        return next(kind for start, kind in MARKUP if start in text)
    return None
