"""Pictures that are nearly the same, as `smallset check --deep` finds them."""

import io
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from smallset.cli import main
from smallset.data.duplicates import LIKENESS, near_duplicates
from smallset.data.lookalikes import SIZE, TURNS, turned, without_frame


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


def captioned(picture):
    picture = picture.copy()
    picture.paste("white", (60, 104, 120, 120))
    return picture


CHANGES = {
    "saved again": saved_again,
    "resized": lambda p: p.resize((70, 90)),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.3),
    "grey": lambda p: ImageOps.grayscale(p).convert("RGB"),
    "mirrored": ImageOps.mirror,
    "rotated by 90": lambda p: p.transpose(Image.Transpose.ROTATE_90),
    "rotated by 270": lambda p: p.transpose(Image.Transpose.ROTATE_270),
    "upside down": ImageOps.flip,
    "letterboxed": lambda p: ImageOps.expand(p, (0, 40), "black"),
    "framed, rotated": lambda p: ImageOps.expand(p, 25, "white").rotate(180),
    "captioned": lambda p: captioned(p),
    "cut at a side": lambda p: p.crop((14, 0, 120, 120)),
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
    [pair] = near_duplicates(images)
    assert (pair.first, pair.second) == (7, 12)
    assert LIKENESS <= pair.likeness <= 1.001


def test_flat_pictures_are_like_nothing():
    images = np.full((6, SIZE, SIZE, 3), 200, dtype=np.uint8)
    images += np.random.default_rng(0).integers(0, 2, images.shape, dtype=np.uint8)
    assert near_duplicates(images) == []


def test_pictures_of_one_kind_are_no_copies():
    rng = np.random.default_rng(0)
    images = []
    for _ in range(8):  # an ellipse like the others on white, with a texture of its own
        picture = Image.new("L", (SIZE, SIZE), 255)
        mask = Image.fromarray((np.hypot(*np.mgrid[-1:1:96j, -0.7:0.7:96j]) < 0.5).astype(np.uint8))
        texture = Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8))
        picture.paste(texture.resize((SIZE, SIZE)), (0, 0), mask.point(lambda v: 255 * v))
        images.append(np.asarray(picture.convert("RGB")))
    assert near_duplicates(np.stack(images)) == []


def test_every_way_to_see_a_square_is_another_one():
    square = torch.arange(9.0).view(1, 3, 3)
    ways = {tuple(turned(square, turn).flatten().tolist()) for turn in range(len(TURNS))}
    assert len(ways) == 8


def test_a_frame_is_lines_of_one_colour_at_the_edge():
    inside = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (40, 60))).float()
    picture = F.pad(inside, (10, 26, 8, 48), value=255.0)[None]
    assert without_frame(picture).tolist() == [[8, 48, 10, 70]]
    assert without_frame(torch.zeros(1, 96, 96))[0, 0] == 96  # nothing but frame


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
