"""Train a run, and check the data before it."""

from functools import partial
from pathlib import Path

from smallset.config import RunConfig
from smallset.data.cache import load_pixels
from smallset.data.check import Problem, find_problems
from smallset.data.listing import ImageSet
from smallset.data.preprocessing import square_of
from smallset.data.read import read_data
from smallset.progress import Reporter
from smallset.record.record import Record
from smallset.words import language


def train(
    data: str | Path,
    config: RunConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Record:
    """Train one classifier, and leave its record with figures and a page.

    Args:
        data: A folder of class folders or of split folders, a .csv or .jsonl manifest,
            "torchvision:NAME" or "sample:shapes".
        config: Settings; None takes the defaults.
        out: Folder of the record; None takes "runs/<model>-<digest>".
        resume: Continue the run that `out` holds.
        reporter: Told of progress; None says nothing.

    Raises:
        ConfigError: If settings do not fit.
        DataError: If the data is not fit for training.
        RunError: If the run fails, or cannot be resumed, or `out` holds something else.

    Example:
        >>> import smallset
        >>> config = smallset.RunConfig(model="residual", epochs=30)
        >>> record = smallset.train("pictures/", config, out="runs/first")  # doctest: +SKIP
        >>> record.result["test_accuracy"]  # doctest: +SKIP
        0.81
    """
    from smallset.findings.facts import read_facts
    from smallset.findings.finders import find
    from smallset.learn.run import train_run
    from smallset.show.run_figures import draw_run

    config = config or RunConfig()
    folder = Path(out or f"runs/{config.model.replace(':', '-')}-{config.digest()}").expanduser()
    reporter = reporter or Reporter()
    record = train_run(data, config, folder, resume=resume, reporter=reporter)
    for note in draw_run(record, config.figures):
        reporter.note(note)
    findings = find(read_facts(record))
    if config.figures.report:
        from smallset.use.pages import Page, write_run

        page = Page(language(config.figures.lang), str(data), reporter=reporter)
        write_run(record, page, findings=findings)
    for finding in findings:
        reporter.found(finding)
    return record


def check(
    data: str | Path,
    config: RunConfig | None = None,
    *,
    deep: bool = False,
    reporter: Reporter | None = None,
) -> tuple[ImageSet, list[Problem]]:
    """Read a data set, decode every image, and return the listing and every problem found.

    Args:
        data: As in `train`.
        config: Settings; its `data` group and image size are used.
        deep: Look for pictures that are nearly the same too: resized, cut, mirrored, brightened.
        reporter: Told of progress; None says nothing.

    Raises:
        DataError: If there is no such data, or it is not laid out as smallset reads it.
    """
    from smallset.models.registry import default_image_size

    config, reporter = config or RunConfig(), reporter or Reporter()
    images = read_data(data, config.data)
    size = config.image_size or default_image_size(config.model)
    square = square_of(config.model_copy(update={"image_size": size}))
    pixels = load_pixels(images, square, progress=partial(reporter.counted, "decoding"))
    problems = find_problems(images, pixels.ids, pixels.errors)
    if deep:
        from smallset.clean.duplicates import find_nearly_same

        problems += find_nearly_same(images, config.data, pixels.ids, on_progress=reporter.counted)
    reporter.close()
    return images, problems
