"""What several tests need beside fixtures."""

import numpy as np
from PIL import Image

from smallset.progress import Reporter

COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40), (40, 200, 200)]


def picture(label, number, size=40):
    """A noisy picture whose colour tells its class."""
    rng = np.random.default_rng([label, number])
    pixels = rng.normal(COLOURS[label], 40, (size, size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


class Listening(Reporter):
    def __init__(self):
        self.notes = []
        self.counts = {}
        self.stages = []

    def note(self, text):
        self.notes.append(text)

    def counted(self, what, done, total):
        self.counts[what] = total

    def start_stage(self, name, *, first, epochs):
        self.stages.append((name, first))


def same_numbers(first, second):
    """Two records hold the same numbers, bit for bit; times aside."""
    strip = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in r.history]
        for r in (first, second)
    ]
    assert strip[0] == strip[1]
    for name in ("predictions.csv", "model.safetensors", "embeddings.npz"):
        contents = [(record.folder / name).read_bytes() for record in (first, second)]
        if name == "embeddings.npz":  # a zip holds the time of writing
            np.testing.assert_array_equal(first.embeddings("test"), second.embeddings("test"))
        else:
            assert contents[0] == contents[1], name


def f1(suspects, wrong):
    return 2 * (suspects & wrong).sum() / (suspects.sum() + wrong.sum())
