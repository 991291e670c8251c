"""Commands that are killed at random moments: a few of what benchmarks/kill_loops.py does."""

import importlib.util
import os
import random
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks/kill_loops.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")
@pytest.mark.parametrize("name", ["weights import", "decoded pictures"])
def test_what_is_killed_goes_on_to_the_same_bytes_and_leaves_nothing(tmp_path, monkeypatch, name):
    found = importlib.util.spec_from_file_location("kill_loops", SCRIPT)
    assert found
    assert found.loader
    loops = importlib.util.module_from_spec(found)
    found.loader.exec_module(loops)
    monkeypatch.setattr(sys, "argv", [])
    (tmp_path / "place").mkdir()
    world = loops.World(tmp_path, tmp_path / "place", None)
    world.make()
    monkeypatch.setenv("SMALLSET_CACHE", str(world.cache))
    loop = loops.Loop(world, name, random.Random(0), 60)
    loop.undisturbed()
    assert loop.kill(5) == 5
    assert loop.wrong == []
