import subprocess
import sys

import pytest
import torch

from smallset.compute import resolve
from smallset.data.prepare import DataSource
from smallset.errors import ConfigError
from smallset.groups import ComputeConfig
from smallset.learn.plan import Planner


def test_auto_becomes_what_this_machine_has():
    found = resolve(ComputeConfig())
    assert found.device == ("cuda" if torch.cuda.is_available() else found.device)
    assert "auto" not in (found.device, found.precision)
    assert resolve(ComputeConfig(precision="float32", device="cpu")).precision == "float32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(ConfigError, match="device 'cuda' is not on this machine"):
        resolve(ComputeConfig(device="cuda"))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
@pytest.mark.parametrize(("switch", "expected"), [("1", "True"), ("0", "False")])
def test_memory_is_kept_unless_switched_off(switch, expected):
    code = "from smallset.memory import keep_memory; print(keep_memory())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"SMALLSET_KEEP_MEMORY": switch},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == expected


def test_threads_are_part_of_what_a_run_is(split_folders, tiny):
    assert resolve(ComputeConfig(threads=4)).threads == 4
    planner = Planner(DataSource(split_folders))
    digests = {
        planner.plan(tiny(**{"compute.threads": threads})).digest for threads in ("none", 1, 4)
    }
    assert len(digests) == 3
    with pytest.raises(ConfigError, match=r"compute\.threads.*1024"):
        tiny(**{"compute.threads": 100_000})  # so many end the process by a signal
