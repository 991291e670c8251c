"""Take a trained network elsewhere."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from smallset.errors import ConfigError, need, suggest
from smallset.files import given_path
from smallset.progress import Reporter, usual_reporter
from smallset.words import language

if TYPE_CHECKING:
    from smallset.use.export import Exported

KNOWN = ("onnx", "page", "hf")
"""Names of `smallset.use.export.FORMATS`, which only the extra's packages can open."""


def export(
    run: str | Path,
    out: str | Path | None = None,
    *,
    file_format: str = "onnx",
    data: str | Path | None = None,
    runtime: str | Path | None = None,
    lang: str = "auto",
    own_code: bool = False,
    force: bool = False,
    reporter: Reporter | None = None,
) -> "Exported":
    """Write the network of a run as files that need no smallset, and try them on its pictures.

    Args:
        run: A record; its data is needed only to try the export on.
        out: Folder for the files; None is a folder in the record, named as the format.
        file_format: "onnx"; "page", one HTML file that classifies in the browser, offline; or "hf",
            a folder that timm and the Hugging Face hub take.
        data: Where the images of the run are now; None takes the place where they were.
        runtime: Folder of onnxruntime-web, for a page; None has npm bring it once.
        lang: "en" or "zh", the language a page opens in; "auto" takes that of the locale.
        own_code: Let the record import the function that builds its network; trust it first.
        force: Write over an export that is there.
        reporter: Told of progress; None tells a terminal or notebook.

    Returns:
        The files, and how near their answers are to those of the network.

    Raises:
        ConfigError: If the extra is not installed, there is no such format, or the network is own
            code.
        DataError: If `run` is no record of a finished run, or `data` cannot be read.
        RunError: If files are there already, a graph cannot be made, or one answers differently.
    """
    if file_format not in KNOWN:
        raise ConfigError(f"no format {file_format!r}; {suggest(file_format, KNOWN)}")
    need("smallset export", "export", "onnx", "onnxscript", "onnxruntime")
    from smallset.use.export import export_record
    from smallset.use.predictor import open_record

    reporter = reporter or usual_reporter()
    with closing(reporter):
        record = open_record(given_path(run))
        return export_record(
            record,
            record.folder / file_format if out is None else given_path(out),
            file_format,
            data=None if data is None else str(data),
            runtime=None if runtime is None else given_path(runtime),
            lang=language(lang),
            own_code=own_code,
            force=force,
            reporter=reporter,
        )
