"""Pictures that are nearly the same, as `smallset check --deep` finds them."""

import io
import sys

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from smallset.clean.duplicates import LIKENESS, SIZE, near_duplicates
from smallset.cli import main


def scene(seed, size=120):
    """A picture with large and small blots of its own."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(size, size, 3))
    layers = [
        np.asarray(
            Image.fromarray((128 + 60 * noise).clip(0, 255).astype(np.uint8)).filter(
                ImageFilter.GaussianBlur(radius)
            ),
            dtype=float,
        )
        for radius in (2, 6)
    ]
    mixed = np.sum([(layer - layer.mean()) / layer.std() for layer in layers], axis=0)
    return Image.fromarray((128 + 35 * mixed).clip(0, 255).astype(np.uint8))


def saved_again(picture):
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=35)
    return Image.open(content).convert("RGB")


CHANGES = {
    "saved again": saved_again,
    "resized": lambda p: p.resize((70, 90)),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.3),
    "grey": lambda p: ImageOps.grayscale(p).convert("RGB"),
    "mirrored": ImageOps.mirror,
    "cut": lambda p: p.crop((10, 4, 112, 106)),
    "cut, mirrored": lambda p: ImageOps.mirror(p.crop((2, 12, 104, 114))),
}


def arrays(pictures):
    return np.stack(
        [np.asarray(p.resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for p in pictures]
    )


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(change):
    pictures = [scene(n) for n in range(12)]
    images = arrays([*pictures, CHANGES[change](pictures[7])])
    features = images.reshape(len(images), -1).astype(np.float32)
    [pair] = near_duplicates(features - features.mean(axis=0), images)
    assert (pair.first, pair.second) == (7, 12)
    assert LIKENESS <= pair.likeness <= 1.001


def test_flat_pictures_are_like_nothing():
    images = np.full((6, SIZE, SIZE, 3), 200, dtype=np.uint8)
    images += np.random.default_rng(0).integers(0, 2, images.shape, dtype=np.uint8)
    assert near_duplicates(np.eye(6, dtype=np.float32), images) == []


def test_check_deep_tells_leaks_and_conflicts(tmp_path, monkeypatch, capsys):
    for n in range(6):
        for split in ("train", "test"):
            for label in ("a", "b"):
                (tmp_path / split / label).mkdir(parents=True, exist_ok=True)
                number = 4 * n + 2 * (split == "test") + (label == "b")
                scene(number).save(tmp_path / split / label / f"{n}.png")
    CHANGES["resized"](scene(0)).save(tmp_path / "test/a/copy.png")  # of train/a/0
    CHANGES["mirrored"](scene(5)).save(tmp_path / "train/a/other.png")  # of train/b/1
    CHANGES["brighter"](scene(2)).save(tmp_path / "test/a/again.png")  # of test/a/0

    def check(*flags):
        monkeypatch.setattr(sys, "argv", ["smallset", "check", str(tmp_path), "--quiet", *flags])
        with pytest.raises(SystemExit) as ended:
            main()
        lines = capsys.readouterr().out.splitlines()
        return ended.value.code, [line for line in lines if "same picture" in line]

    assert check() == (0, [])
    status, said = check("--deep")
    assert status == 1
    assert len(said) == 3
    leak, conflict, duplicate = said
    assert leak.startswith("near-leak: in train and test, nearly the same picture (")
    assert leak.endswith("train/a/0.png, test/a/copy.png")
    assert conflict.startswith("near-conflict: in train, labelled a and b, nearly")
    assert conflict.endswith("train/a/other.png, train/b/1.png")
    assert duplicate.startswith("near-duplicate: in test, nearly the same")
