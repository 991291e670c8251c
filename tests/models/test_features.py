"""Vectors of frozen networks: the same bits in any company, and found again in another."""

import numpy as np
import pytest

from smallset.data.feed import PixelFeed
from smallset.data.preprocessing import Preprocessing
from smallset.models.features import compute_features
from smallset.models.forward import placed
from smallset.models.registry import build_model

COUNT = 41
IDS = [f"id{n}" for n in range(COUNT)]
NETWORKS = ("mobilenet_v2", "squeezenet1_1")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (COUNT, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def vectors(pixels, tmp_path):
    """Give what a network makes of some rows; `looked` counts what was computed for it."""
    models = {}
    looked: list[int] = []

    def give(name, rows=range(COUNT), *, folder="kept", mirror=False):
        if name not in models:
            model = build_model(name, 3, image_size=64, weights="none", seed=0)
            models[name] = placed(model, "cpu")
        model, rows = models[name], np.array(rows)
        model.mirror = mirror
        seen = Preprocessing(size=64, mean=tuple(model.mean), std=tuple(model.std))
        looked.clear()
        return compute_features(
            model,
            PixelFeed(pixels[rows], np.zeros(len(rows), dtype=int), seen, device="cpu"),
            ids=[IDS[row] for row in rows],
            bfloat16=False,
            folder=tmp_path / folder,
            progress=lambda done, _: looked.append(done),
            note=notes.append,
        )

    notes: list[str] = []
    return give, looked, notes


@pytest.mark.parametrize("name", NETWORKS)
def test_a_vector_has_the_same_bits_in_any_company(vectors, name):
    give, looked, _ = vectors
    whole = give(name)
    assert looked[-1] == COUNT
    for rows in (range(5), range(COUNT - 1, -1, -1), [7]):
        alone = give(name, rows, folder=f"other-{len(rows)}")
        assert looked[-1] == len(rows)
        np.testing.assert_array_equal(alone, whole[list(rows)])


def test_what_was_computed_once_is_found_in_other_splits_and_beside_other_networks(vectors):
    give, looked, notes = vectors
    first = give(NETWORKS[0], range(20))
    both = give(NETWORKS[0])
    assert looked[-1] == COUNT - 20  # the others only
    np.testing.assert_array_equal(both[:20], first)
    give(NETWORKS[0], [30, 3, 3])
    assert looked == []
    second = give(NETWORKS[1])
    together = give("+".join(NETWORKS))
    assert looked == []
    np.testing.assert_array_equal(together, np.concatenate([both, second], axis=1))
    mirrored = give(NETWORKS[0], mirror=True)
    assert looked[-1] == COUNT  # the mirror images only
    np.testing.assert_array_equal(mirrored[:, 0], both)
    assert not np.array_equal(mirrored[:, 1], both)
    assert notes == []


def test_damaged_vectors_are_computed_again_and_that_is_said(vectors, tmp_path):
    give, looked, notes = vectors
    before = give(NETWORKS[1], range(9))
    [file] = (tmp_path / "kept").rglob("features.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    np.testing.assert_array_equal(give(NETWORKS[1], range(9)), before)
    assert looked[-1] == 9
    assert "is damaged" in notes[0]
