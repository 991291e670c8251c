import numpy as np
import pytest
from PIL import Image

from smallset.config import RunConfig, override


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(shared_cache, monkeypatch):
    monkeypatch.setenv("SMALLSET_CACHE", str(shared_cache))


COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40), (40, 200, 200)]


def picture(label, number, size=40):
    """A noisy picture whose colour tells its class."""
    rng = np.random.default_rng([label, number])
    pixels = rng.normal(COLOURS[label], 40, (size, size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def split_folders(tmp_path_factory):
    """Four classes in train, val, test and extra; every picture differs."""
    root = tmp_path_factory.mktemp("pictures")
    number = 0
    for split, count in {"train": 8, "val": 3, "test": 5, "extra": 2}.items():
        for label, name in enumerate(["ant", "bee", "cat", "dog"]):
            (root / split / name).mkdir(parents=True)
            for n in range(count):
                number += 1
                picture(label, number).save(root / split / name / f"{n}.png")
    return root


@pytest.fixture
def tiny():
    """Settings of a run that takes a second: tiny(lr=0.1, **{"optim.momentum": 0.9})."""

    def build(**settings):
        base = {"image_size": 32, "epochs": 2, "batches.size": 8}
        base |= {"figures.tsne": False, "figures.report": False}
        return override(RunConfig(), {**base, **settings})

    return build
