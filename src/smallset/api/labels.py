"""Find wrong labels, and decide on them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smallset.config import RunConfig, given_config
from smallset.data.out import taken
from smallset.errors import need
from smallset.files import given_path
from smallset.progress import Reporter, usual_reporter
from smallset.words import language


def clean(
    data: str | Path,
    *,
    out: str | Path,
    nets: Sequence[str],
    splits: Sequence[str] | None = None,
    config: RunConfig | Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> Any:
    """Find wrong labels, and decide what to do about them.

    Args:
        data: As in `train`; its files are never changed.
        out: The folder to write; `train` and `study` take it like any data.
        nets: What judges: pretrained networks as "NAME" or "NAME=WEIGHT FILE", or "self".
        splits: Whose labels are judged; None for all but test, whose labels say what every test
            accuracy means.
        config: Its `data` group chooses classes, and may add noise to try cleaning out.
        reporter: Told of progress; None tells a terminal or notebook.

    Returns:
        A `smallset.clean.find.Found`.

    Raises:
        ConfigError: If a network is unknown, not pretrained, or named twice, or there is no such
            split.
        DataError: If the data is not fit, or weights are missing.
        RunError: If the folder cannot be written, or holds files.
    """
    from smallset.clean.folder import clean_folder
    from smallset.models.at_hand import JUDGE, saying_what_is_here

    reporter = reporter or usual_reporter()
    config = given_config(config)
    with saying_what_is_here(JUDGE), taken(out, data) as folder:
        found = clean_folder(data, nets, folder, splits=splits, config=config, reporter=reporter)
        if config.figures.report:
            from smallset.use.pages import Page, write_cleaning

            lang = language(config.figures.lang)
            write_cleaning(folder, Page(lang, str(data), reporter=reporter))
    reporter.close()
    return found


def review(
    folder: str | Path,
    *,
    data: str | None = None,
    port: int = 0,
    by: str | None = None,
    lang: str = "auto",
    open_browser: bool = False,
    on_line: Callable[[str], object] = print,
) -> None:
    """Serve the page on which a cleaned set's suspects are decided on, until interrupted.

    It answers on 127.0.0.1 alone, to the address that `on_line` gets. Every decision is in
    labels.csv before the next image shows.

    Args:
        folder: What `clean` left.
        data: Where the data is now; None takes the place where it was.
        port: Of 127.0.0.1; 0 takes a free one.
        by: Whose decisions these are; None takes the user's name.
        lang: "en" or "zh", the language the page opens in; "auto" takes that of the locale.
        on_line: Told the address, and at the end what was decided.

    Raises:
        ConfigError: If the extra `web` is not installed.
        DataError: If the folder is no cleaned set, or its images are gone.
        RunError: If the port is taken, or another review of the folder runs.
    """
    need("smallset review", "web", "fastapi", "uvicorn")
    from smallset.use.review_server import serve_review

    serve_review(
        given_path(folder),
        data=data,
        port=port,
        by=by,
        lang=language(lang),
        open_browser=open_browser,
        on_line=on_line,
    )
    if (given_path(folder) / "report.html").exists():  # with what was decided by hand
        from smallset.use.pages import Page, write_cleaning

        on_line(f"page:     {write_cleaning(given_path(folder), Page(language(lang), data))}")
