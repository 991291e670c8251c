"""Generated data sets, drawn once into the cache folder: ``sample:shapes[,name=value...]``."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import Field, ValidationError

from smallset.data.noise import flip_labels
from smallset.data.shapes import SHAPES, TEXTURES, draw_shape
from smallset.errors import ConfigError, suggest
from smallset.files import cache_dir, csv_text, write_json
from smallset.seeds import stream
from smallset.settings import Settings, parse_value
from smallset.store import build_folder

FORMAT = "4"  # part of every folder's name: a change in how pictures are drawn must change it
PER_SPLIT = {"train": 60, "val": 10, "test": 40, "extra": 20}


class ShapesConfig(Settings):
    """Options of ``sample:shapes``, written ``sample:shapes,seed=3,wrong=0.1``."""

    seed: int = Field(default=0, ge=0)
    """Chooses every picture."""
    size: int = Field(default=112, ge=32, le=1024)
    """Side of the pictures, px."""
    scale: float = Field(default=1.0, gt=0, le=100)
    """Images per class as a multiple of 60/10/40/20."""
    wrong: float = Field(default=0.0, ge=0, le=1)
    """Share of the training pictures put into a wrong class; truth.csv keeps the right one."""


def sample_folder(text: str) -> Path:
    """Return the folder of a generated set, drawing it first where it is not there yet.

    Args:
        text: What stands behind "sample:", such as "shapes" or "shapes,seed=3".

    Raises:
        ConfigError: If there is no such sample or option.
    """
    name, *options = text.split(",")
    if name != "shapes":
        raise ConfigError(f"no sample named {name!r}; {suggest(name, ['shapes'])}")
    parts = [option.partition("=") for option in options]
    values = {name: value for name, _, value in parts}
    for key in values:
        if key not in ShapesConfig.model_fields:
            raise ConfigError(
                f"sample:shapes has no {key!r}; {suggest(key, ShapesConfig.model_fields)}"
            )
    try:
        config = ShapesConfig.model_validate({k: parse_value(v) for k, v in values.items()})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"sample:shapes, {first['loc'][0]}: {first['msg']}") from None
    digest = hashlib.sha256(f"{FORMAT}{config.model_dump_json()}".encode()).hexdigest()[:8]
    return build_folder(
        cache_dir() / "samples" / f"shapes-{digest}", lambda folder: _draw_shapes(folder, config)
    )


def _draw_shapes(folder: Path, config: ShapesConfig) -> None:
    classes = sorted(f"{shape}-{texture}" for shape in SHAPES for texture in TEXTURES)
    jobs: list[tuple[str, int, int]] = []
    for split, count in PER_SPLIT.items():
        for label in range(len(classes)):
            jobs += [(split, label, n) for n in range(max(1, round(count * config.scale)))]

    # Wrong labels are drawn like the noise of a run, so their number is exact too.
    train = [n for n, (split, _, _) in enumerate(jobs) if split == "train"]
    ids = [f"{label}/{number}" for _, label, number in (jobs[n] for n in train)]
    truth = np.array([jobs[n][1] for n in train])
    given = flip_labels(ids, truth, config.wrong, num_classes=len(classes), seed=config.seed)
    folder_of = dict(zip(train, given.tolist(), strict=True))

    def draw(n: int) -> tuple[str, str]:
        split, label, number = jobs[n]
        rng = stream(config.seed, f"shapes.{split}", label, number)
        shape, texture = classes[label].split("-")
        pixels = draw_shape(shape, texture, size=config.size, rng=rng)
        shown = classes[folder_of.get(n, label)]
        # Named by its own class only where the label is right: the name must not tell.
        name = hashlib.sha256(f"{label}/{number}".encode()).hexdigest()[:10]
        path = folder / split / shown / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=95)
        return path.relative_to(folder).as_posix(), classes[label]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        drawn = list(pool.map(draw, range(len(jobs))))
    (folder / "truth.csv").write_text(csv_text([["path", "true_label"], *map(list, drawn)]))
    write_json(folder / "sample.json", config.model_dump())
