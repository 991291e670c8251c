"""Write the page of a run, a study or a cleaning: find its images, ask its network, fill it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from smallset.compare.summary import Summary
from smallset.errors import ConfigError, DataError, suggest
from smallset.findings.facts import Finding
from smallset.progress import Reporter
from smallset.record.record import Record
from smallset.show.report.clean_page import write_clean_page
from smallset.show.report.run_page import write_run_page
from smallset.show.report.study_page import write_study_page
from smallset.show.report.thumbnails import Pictures, find_pictures
from smallset.words import Lang, text


@dataclass(frozen=True)
class Page:
    """How a page is to be written."""

    lang: Lang
    data: str | None
    """Where the images are now; None takes the place where they were."""
    budget_mb: float = 15.0
    without_images: bool = False
    own_code: bool = False
    """Whether a record may name the function that builds its network, for Grad-CAM."""
    reporter: Reporter = Reporter()  # noqa: RUF009  it is frozen

    def pictures(self, record: Record) -> Pictures | None:
        """Return the images of a record; None where the page is to have none."""
        if self.without_images:
            return None
        progress = partial(self.reporter.counted, "decoding")
        return find_pictures(record, self.data, progress=progress)


def write_run(
    record: Record,
    page: Page,
    *,
    grad_cam: Sequence[str] = (),
    findings: Sequence[Finding] | None = None,
) -> Path:
    """Write report.html of a record.

    Args:
        grad_cam: Paths in predictions.csv of images to explain, beside the worst mistakes.
        findings: Of the run, where they are known; None looks for them.

    Raises:
        ConfigError: If an image of `grad_cam` is not in the record.
        DataError: If the run has no test images.
    """
    from smallset.learn.explain import explain
    from smallset.models.at_hand import networks_here

    if not (record.predictions.splits == "test").any():
        raise DataError(
            f"{record.folder} has no test images, which a page is about: an estimator left it; "
            'its settings={"data.folds": 5} judge every picture out of its fold'
        )
    place = {path: row for row, path in enumerate(record.predictions.paths)}
    unknown = [path for path in grad_cam if path not in place]
    if unknown:
        raise ConfigError(
            f"no image {unknown[0]!r} in {record.folder}; {suggest(unknown[0], place)}"
        )
    pictures = page.pictures(record)
    explained, notes = None, [text("The images were left out of this page.")]
    if pictures is not None:
        explained, notes = explain(
            record, pictures.of, [place[path] for path in grad_cam], own_code=page.own_code
        )
    page.reporter.close()
    return write_run_page(
        record,
        pictures,
        explained,
        findings=findings,
        at_hand=networks_here(),
        lang=page.lang,
        budget_mb=page.budget_mb,
        notes=notes,
    )


def write_study(summary: Summary, page: Page) -> Path:
    """Write report.html of a study, with the images of its first run."""
    pictures = page.pictures(summary.arms[0].records[0]) if summary.arms else None
    page.reporter.close()
    return write_study_page(summary, pictures, lang=page.lang, budget_mb=page.budget_mb)


def write_cleaning(folder: Path, page: Page) -> Path:
    """Write report.html of a folder that `smallset clean` left."""
    written = write_clean_page(
        folder,
        page.data,
        lang=page.lang,
        budget_mb=page.budget_mb,
        without_images=page.without_images,
        progress=partial(page.reporter.counted, "decoding"),
    )
    page.reporter.close()
    return written
