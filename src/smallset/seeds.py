"""Separate random streams from one seed: changing one purpose never shifts another."""

import zlib

import numpy as np


def stream(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Return the random stream of one purpose of one run.

    Args:
        purpose: Such as "weights", "order" or "augment.flip".
        *indices: Stage and epoch, where each has draws of its own.
    """
    key = (zlib.crc32(purpose.encode()), *indices)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def torch_seed(seed: int, purpose: str, *indices: int) -> int:
    """Return the seed that a torch generator takes for one purpose of one run.

    Args:
        purpose: As in `stream`.
        *indices: As in `stream`.
    """
    return int(stream(seed, purpose, *indices).integers(2**63))
