"""Two processes on the CPU (gloo) do what one does: `fit`, experiments, and sharded models.

The runs themselves, and the program that is one of the two processes, are in two_processes.py.
"""

import json
import os
import shutil

import pandas as pd
import pytest
import torch
from filelock import FileLock

import syre_helpers as sh
import two_processes

TOGETHER = (
    "every_arm", "other_ways", "own_start", "half_precision", "resumed", "refused",
    "placed", "sharded_training", "sharded_errors", "wrapped_training", "experiment",
    "command",
)  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def found(tmp_path_factory):
    """Return a function: what a run returned in both processes, all runs done at once."""
    base = tmp_path_factory.getbasetemp()
    # Tests that run side by side share one folder, and the first to come does the work.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "two-processes"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            killed, _ = two_processes.start(folder, "killed")
            left = folder / "state" / "run.pt"
            shutil.copy(left, folder / "left.pt")
            statuses, errors = two_processes.start(folder, *TOGETHER)
            summary = {"killed": killed, "statuses": statuses, "errors": errors}
            (folder / "summary.json").write_text(json.dumps(summary))
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["statuses"] == [0, 0], "\n".join(summary["errors"])

    def load(name):
        return [torch.load(folder / f"{name}.{rank}.pt", weights_only=True) for rank in (0, 1)]

    load.folder, load.killed = folder, summary["killed"]
    return load


def assert_same(two, one, tolerance):
    """Compare nested results: both processes' exactly, with one process' to a tolerance."""
    for rank in (0, 1):
        torch.testing.assert_close(two[rank], one, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(two[0], two[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    "name", ["every_arm", "other_ways", "own_start", "sharded_training", "wrapped_training"]
)
def test_two_processes_train_as_one_does(found, name):
    one = getattr(two_processes, name)(None, None)
    assert_same(found(name), one, 1e-12)


def test_half_precision_keeps_float32_parameters(found):
    two = found("half_precision")
    exact = two_processes.half_precision(None, None)
    one = two_processes.half_precision(two_processes.accelerated("half_precision"), None)
    two_processes.accelerated("")
    assert {value.dtype for value in two[0][1].values()} == {torch.float32}
    torch.testing.assert_close(two[0], two[1], rtol=0, atol=0)
    # bfloat16 has 8 bits: the two halves of a gradient are rounded each by itself.
    torch.testing.assert_close(two[0], one, rtol=0, atol=1e-2)
    torch.testing.assert_close(one, exact, rtol=0, atol=1e-1)
    apart = (one[1]["0.weight"] - exact[1]["0.weight"]).abs().max()
    assert apart > 1e-5, "nothing was computed in bfloat16"


def test_a_run_that_lost_a_process_goes_on(found, tmp_path):
    assert found.killed[1] == 9, "the second process was to die"
    assert found.killed[0] != 0, "the first cannot go on alone"
    whole = two_processes.interrupted(None, None, id)
    runs = found("resumed")
    assert [steps for _, steps in runs] == [11, 11], "of 23 steps, 12 were kept"
    assert_same([run for run, _ in runs], whole, 1e-12)
    assert [file.name for file in (found.folder / "state").iterdir()] == ["run.pt"]
    # One process goes on from what two have left.
    (tmp_path / "state").mkdir()
    shutil.copy(found.folder / "left.pt", tmp_path / "state" / "run.pt")
    run, steps = two_processes.resumed(None, tmp_path)
    assert steps == 11
    torch.testing.assert_close(run, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("run", "case", "words"),
    [
        ("refused", "small batch", "a batch of 1 samples cannot be shared by 2 processes"),
        ("refused", "no rows", "one row per sample"),
        ("refused", "own file", "is there for 1 of 2 processes"),
        ("refused", "sharded", "parameter '0.weight' is sharded; fit trains whole models"),
        ("refused", "batch norm", "BatchNorm ('1'), and 2 processes on a CPU cannot share"),
        ("refused", "accumulation", "gradient_accumulation_steps=2"),
        ("sharded_errors", "penalty", "parameter '0.weight' is sharded"),
        ("sharded_errors", "parametrize", "parameter '0.weight' is sharded"),
        ("sharded_errors", "remove", "the model is sharded"),
        ("sharded_errors", "twice", "parameter '0.weight' is under parametrize"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_by_all(found, run, case, words):
    for errors in found(run):
        assert errors[case].startswith("ValueError")
        assert words in errors[case]


def test_theta_0_of_a_sharded_parameter_is_that_of_the_whole(found):
    for rank in (0, 1):
        placed = found("placed")[rank]
        assert len(placed) == 11
        for (shape, _), (bias, metric) in placed.items():
            syre = sh.Syre(0.1, 0.3, sigma_D=0.2, seed=5)
            assert torch.equal(bias, syre.bias("0.weight", torch.zeros(shape)))
            assert torch.equal(metric, syre.metric("0.weight", torch.zeros(shape)))


def test_experiments_give_the_same_table(found):
    one = pd.DataFrame(two_processes.experiment(None, None))
    for two in found("experiment"):  # in float32, after a few steps
        pd.testing.assert_frame_equal(pd.DataFrame(two), one, rtol=1e-4, atol=1e-5)


def test_the_command_line_in_two_processes(found):
    first, second = found("command")
    for said in (first, second):
        assert said["stacked"][0] == said["grid"][0] == said["device"][0] == 2
        assert "dead_neurons trains its models as one stacked program" in said["stacked"][2]
        assert "--jobs" in said["grid"][2]
        assert "--device=cpu:0" in said["device"][2]
    assert first["run"][0] == second["run"][0] == 0
    assert second["run"][1] == "", "one of the two speaks"
    table = pd.read_csv(found.folder / "command.csv")
    expected = pd.DataFrame(found("experiment")[0])
    pd.testing.assert_frame_equal(table, expected, rtol=1e-6, check_dtype=False)
    record = json.loads((found.folder / "command.json").read_text())
    assert record["processes"] == 2
    assert record["config"]["device"] == "cpu"
