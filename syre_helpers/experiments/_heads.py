"""What the heads of a trained network are worth: their products cut to a rank, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor
from torch.nn import functional

from ..measures import effective_rank
from ..models import head_products, with_heads_cut
from ..models.heads import Pair

Params = Mapping[str, Tensor]
PAIRS: dict[str, Pair] = {"qk": "query-key", "vo": "value-output"}
"""How the columns of the table call the two products."""
WORTH = 0.01
"""A head uses a rank if to cut all heads below it costs this much, in nats per byte."""


def next_byte_loss(output: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross entropy of scores (..., length, 256) and bytes (..., length)."""
    return functional.cross_entropy(output.flatten(0, -2), y.flatten())


def worth_of_heads(
    params: Params, heads: int, cuts: Sequence[int], loss: Callable[[Params], float]
) -> dict[str, float]:
    """Return ranks of the heads' products, and what it costs to cut them, by names of columns.

    Parameters
    ----------
    params : mapping of str to Tensor
        Of a `gpt`.
    heads : int
        Attention heads per block.
    cuts : sequence of int
        Ranks to cut to, beside 0, in rising order.
    loss : callable
        ``loss(params)``, in nats.

    Returns
    -------
    dict of str to float
        test_loss; and for each of `PAIRS`, such as qk: qk_norm and qk_effective_rank, means over
        heads; qk_cost_0 and so on, by how much the loss grows if all heads are cut to that rank;
        qk_used_rank, the least of these ranks from which on no cut costs as much as `WORTH`, or
        the size of a head.
    """
    whole = loss(params)
    found = {"test_loss": whole}
    for short, pair in PAIRS.items():
        products = head_products(params, heads, pair)
        cut = {rank: with_heads_cut(params, heads, pair, rank) for rank in (0, *cuts)}
        costs = {rank: loss(less) - whole for rank, less in cut.items()}
        found |= {
            f"{short}_norm": float(products.norm(dim=(-2, -1)).mean()),
            f"{short}_effective_rank": float(effective_rank(products).mean()),
            f"{short}_used_rank": float(used_rank(costs, products.shape[-1])),
            **{f"{short}_cost_{rank}": cost for rank, cost in costs.items()},
        }
    return found


def used_rank(costs: Mapping[int, float], size: int) -> int:
    """Return the least rank from which on no cut costs `WORTH`; `size` where the last does."""
    needed = [rank for rank, cost in costs.items() if not cost < WORTH]
    return min((rank for rank in costs if rank > max(needed, default=-1)), default=size)
