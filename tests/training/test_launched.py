"""Processes that a launcher starts, and accelerators that are refused."""

import sys
from types import SimpleNamespace

import pytest
import torch

import two_processes
from syre_helpers.__main__ import main
from syre_helpers.training.processes import Processes, launched


def accelerator_with(kind="NO", precision="no"):
    return SimpleNamespace(
        distributed_type=SimpleNamespace(value=kind),
        mixed_precision=precision,
        gradient_accumulation_steps=1,
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"precision": "fp16"}, "mixed_precision='fp16'"),
        ({"kind": "FSDP"}, "set up for FSDP"),
        ({"kind": "DEEPSPEED"}, "set up for DEEPSPEED"),
    ],
)
def test_accelerators_of_other_kinds_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Processes(accelerator_with(**settings), torch.device("cpu"))


def test_processes_that_a_launcher_starts_are_joined(monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_RANK", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    assert launched() is None
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    two_processes.accelerated("")
    assert launched("cpu").num_processes == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started, and cpu is for one"):
        launched("cpu")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"syre_helpers\[train\]"):
        launched("cpu")


def test_stacked_experiments_have_no_other_precision(monkeypatch, capsys):
    two_processes.accelerated("half_precision")
    try:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
        assert main(["run", "dead_neurons", "--device", "cpu"]) == 2
    finally:
        two_processes.accelerated("")
    assert "in one process and in full precision" in capsys.readouterr().err
