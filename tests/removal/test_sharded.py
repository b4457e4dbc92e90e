"""Where the elements of a sharded parameter stand, without several processes."""

from itertools import product
from types import SimpleNamespace

import pytest
import torch

from syre_helpers.removal import sharded


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
