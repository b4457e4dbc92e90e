"""Several devices without several processes: where shards lie, and what is refused."""

import sys
from itertools import product
from types import SimpleNamespace

import pytest
import torch
import two_processes
from torch import nn

import syre_helpers as sh
from syre_helpers.__main__ import main
from syre_helpers.removal import sharded
from syre_helpers.removal.names import canonical_name, named_parameters
from syre_helpers.training.processes import launched


class Spread:
    """A tensor cut as PyTorch cuts it, for one place in a mesh that needs no processes."""

    def __init__(self, whole, placements, mesh, place):
        self.part = whole
        for placement, parts, own in zip(placements, mesh, place, strict=True):
            if hasattr(placement, "dim"):
                cut, _ = placement._split_tensor(self.part, parts, with_padding=False)
                self.part = cut[own]
        self.shape, self.ndim, self.device = whole.shape, whole.ndim, whole.device
        self.placements = placements
        self.device_mesh = SimpleNamespace(shape=mesh, get_coordinate=lambda: place)

    def to_local(self):
        return self.part


@pytest.mark.parametrize("shape", [(7,), (8, 3), (3, 5, 2), (1, 4), (9, 6)])
@pytest.mark.parametrize("layout", ["rows", "replicas", "grid", "strided", "columns", "both"])
def test_where_the_elements_of_a_shard_stand(shape, layout):
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    last = len(shape) - 1
    placements, mesh = {
        "rows": ([Shard(0)], (4,)),
        "replicas": ([Replicate(), Shard(0)], (2, 2)),
        "grid": ([Shard(0), Shard(0)], (2, 3)),
        "strided": ([_StridedShard(0, split_factor=2), Shard(0)], (2, 2)),
        "columns": ([Shard(last)], (3,)),
        "both": ([Shard(0), Shard(last)], (2, 2)),
    }[layout]
    whole = torch.arange(torch.Size(shape).numel()).reshape(shape)
    for place in product(*map(range, mesh)):
        spread = Spread(whole, placements, mesh, place)
        assert torch.equal(sharded.global_indices(spread), spread.part)
        held = spread.part.flatten()
        if held.numel() and torch.equal(held, torch.arange(held[0], held[0] + len(held))):
            assert sharded.local_offset(spread) == held[0]
        else:
            assert sharded.local_offset(spread) == (None if held.numel() else 0)


def test_sums_that_are_not_done_yet_are_refused():
    from torch.distributed.tensor import Partial

    spread = Spread(torch.zeros(3), [Partial()], (2,), (0,))
    with pytest.raises(ValueError, match="holds terms of a sum"):
        sharded.global_indices(spread)


def test_attach_notices_that_its_parameters_were_replaced():
    model = two_processes.made(two_processes.mlp)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sh.Syre(0.5).attach(optimizer, model)
    new = [nn.Parameter(p.detach().clone()) for p in model.parameters()]
    optimizer.param_groups[0]["params"] = new
    with pytest.raises(ValueError, match="shard or prepare the model first"):
        optimizer.step()


def test_names_without_what_wrappers_put_in():
    assert canonical_name("module.0._checkpoint_wrapped_module.weight") == "0.weight"
    flattened = nn.ModuleDict({"_fsdp_wrapped_module": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match=r"'_fsdp_wrapped_module\.weight' is flattened"):
        named_parameters(flattened)


def accelerator_with(**settings):
    usual = {
        "num_processes": 1,
        "process_index": 0,
        "distributed_type": SimpleNamespace(value="NO"),
        "mixed_precision": "no",
        "gradient_accumulation_steps": 1,
        "device": torch.device("cpu"),
    }
    return SimpleNamespace(**(usual | settings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mixed_precision": "fp16"}, "mixed_precision='fp16'"),
        ({"distributed_type": SimpleNamespace(value="FSDP")}, "set up for FSDP"),
        ({"distributed_type": SimpleNamespace(value="DEEPSPEED")}, "set up for DEEPSPEED"),
    ],
)
def test_accelerators_of_other_kinds_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        two_processes.fitted(
            accelerator_with(**settings),
            two_processes.made(two_processes.mlp),
            two_processes.data(),
        )


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
