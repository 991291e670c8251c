"""What several tests need beside fixtures."""

import numpy as np
import torch
from PIL import Image
from torchvision import models as zoo

from smallset.clean.posterior import Posterior
from smallset.files import write_json
from smallset.progress import Reporter
from smallset.reading import read_json
from smallset.stats import Interval

COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40), (40, 200, 200)]


def picture(label, number, size=40):
    """A noisy picture whose colour tells its class."""
    rng = np.random.default_rng([label, number])
    pixels = rng.normal(COLOURS[label], 40, (size, size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def edit_json(path, **changes):
    """Change a JSON file of smallset on purpose, so that its checksum fits."""
    write_json(path, read_json(path) | changes)


def damaged(content, rng):
    """Flip a bit, cut, leave out, repeat, insert or overwrite a part, or leave nothing."""
    at, end = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    flipped = bytearray(content)
    if at < len(content):
        flipped[at] ^= 1 << int(rng.integers(8))
    return [
        bytes(flipped), content[:at], content[:at] + content[end:], content[:end] + content[at:],
        content[:at] + bytes(end - at) + content[end:], content[:at] + rng.bytes(3) + content[at:],
        b"",
    ][rng.integers(7)]  # fmt: skip


class Listening(Reporter):
    """Keeps what it is told; other callbacks may be given."""

    notes: list
    counts: dict
    stages: list

    def __init__(self, **callbacks):
        notes, counts, stages = [], {}, []
        own = {
            "note": notes.append,
            "counted": lambda what, done, total, unit="images": counts.update({what: total}),
            "begin_stage": lambda name, first, epochs: stages.append((name, first)),
        }
        super().__init__(**{**own, **callbacks})
        vars(self).update(notes=notes, counts=counts, stages=stages)


def random_weights(name, folder):
    """A file of a random network in torchvision's layout: real ones cannot be had everywhere."""
    torch.manual_seed(0)
    path = folder / f"{name}.pth"
    torch.save(zoo.get_model(name, weights=None).state_dict(), path)
    return path


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


K = 8


def clouds(per_class=60, apart=2.6, seed=0):
    """Features of K overlapping classes, and their true labels."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(K, 32)) * apart / np.sqrt(2)
    labels = np.repeat(np.arange(K), per_class)
    return centres[labels] * 0.4 + rng.normal(size=(len(labels), 32)), labels


def flip(labels, rate, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(labels), round(rate * len(labels)), replace=False)
    given = labels.copy()
    given[rows] = (given[rows] + rng.integers(1, K, np.size(rows))) % K
    return given


def pairs(labels, rate, seed=0):
    """Noise between neighbours alone: half of the classes are never wrong."""
    rng = np.random.default_rng(seed)
    given = labels.copy()
    rows = rng.permutation(np.flatnonzero(labels % 2 == 0))[: round(rate * len(labels) / 2)]
    given[rows] += 1
    return given


def border(features, labels, rate):
    """The images nearest to the centre of another class get its label."""
    centres = np.stack([features[labels == k].mean(axis=0) for k in range(K)])
    away = np.linalg.norm(features[:, None] - centres, axis=2)
    rows = np.arange(len(labels))
    own = away[rows, labels].copy()
    away[rows, labels] = np.inf
    chosen = np.argsort(away.min(axis=1) - own)[: round(rate * len(labels))]
    given = labels.copy()
    given[chosen] = away.argmin(axis=1)[chosen]
    return given


def posterior(probs, rate=0.2):
    """A posterior of these probabilities."""
    probs = np.asarray(probs, dtype=float)
    return Posterior(
        scale=np.ones(2), flips=np.eye(probs.shape[1]), looks=probs, probs=probs,
        rate=Interval(rate, rate, rate), likelihood=-1.0, noise="even",
    )  # fmt: skip
