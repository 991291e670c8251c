"""What the command line does, for Python."""

from functools import partial
from pathlib import Path

from smallset.config import RunConfig
from smallset.data.cache import load_pixels
from smallset.data.check import Problem, find_problems
from smallset.data.listing import ImageSet
from smallset.data.read import read_data
from smallset.learn.progress import Reporter
from smallset.learn.record import Record


def train(
    data: str | Path,
    config: RunConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Record:
    """Train one classifier, and leave its record with figures.

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
    from smallset.learn.run import train_run
    from smallset.show.figures import draw_run

    config = config or RunConfig()
    folder = Path(out or f"runs/{config.model.replace(':', '-')}-{config.digest()}").expanduser()
    reporter = reporter or Reporter()
    record = train_run(data, config, folder, resume=resume, reporter=reporter)
    for note in draw_run(record, config.figures):
        reporter.note(note)
    return record


def check(
    data: str | Path, config: RunConfig | None = None, *, reporter: Reporter | None = None
) -> tuple[ImageSet, list[Problem]]:
    """Read a data set, decode every image, and return the listing and every problem found.

    Args:
        data: As in `train`.
        config: Settings; its `data` group and image size are used.
        reporter: Told of progress; None says nothing.

    Raises:
        DataError: If there is no such data, or it is not laid out as smallset reads it.
    """
    config = config or RunConfig()
    reporter = reporter or Reporter()
    images = read_data(data, config.data)
    pixels = load_pixels(
        images,
        size=config.image_size or 112,
        policy=config.data.resize,
        max_megapixels=config.data.max_megapixels,
        progress=partial(reporter.counted, "decoding"),
    )
    reporter.close()
    return images, find_problems(images, pixels.ids, pixels.errors)
