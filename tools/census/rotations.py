"""Mirror planes of rotations: how near the heads of a transformer are to a lost rank.

The product of queries and keys stays the same when both are rotated within a head, and so does
that of values and outputs. On a mirror plane of these rotations all that belongs to a head, as one
matrix with a row per dimension, has lost a rank. The distance from the nearest one is its least
singular value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from syre_helpers import effective_rank
from syre_helpers._random import generator
from syre_helpers.data.packaged import packaged_weights
from tools.census.layers import SHUFFLES
from tools.census.networks import NETWORKS

NETWORK, LAYERS, HEADS = "MiniLM-L6", 6, 12
"""The transformer of the census."""


def nearest_rotation(rows: Tensor) -> float:
    """Return the distance of a matrix from the nearest of lower rank.

    Parameters
    ----------
    rows : Tensor
        (units, scalars), not more units than scalars.

    Returns
    -------
    float
        Its least singular value over their root mean square: 0 on a mirror plane of its rotations,
        1 where all directions are alike.

    Examples
    --------
    >>> nearest_rotation(torch.tensor([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]]))
    1.0
    """
    values = torch.linalg.svdvals(rows.double())
    return float(values.min() / values.square().mean().sqrt())


def heads_of(
    weights: Mapping[str, Tensor], layer: str, count: int
) -> dict[str, tuple[Tensor, ...]]:
    """Return all that rotates within each head of a BERT's layer, by the name of the product.

    Parameters
    ----------
    weights : mapping of str to Tensor
        In the names of Hugging Face.
    layer : str
        Such as "encoder.layer.0".
    count : int
        Number of heads.

    Returns
    -------
    dict of str to tuple of Tensor
        For each head the dimensions as rows, with biases: (units, scalars).
    """

    def made(part: str) -> Tensor:
        name = f"{layer}.attention.self.{part}"
        return torch.cat([weights[f"{name}.weight"], weights[f"{name}.bias"][:, None]], 1)

    outputs = weights[f"{layer}.attention.output.dense.weight"].T
    products = {
        "query and key": torch.cat([made("query"), made("key")], 1),
        "value and output": torch.cat([made("value"), outputs], 1),
    }
    return {name: rows.chunk(count) for name, rows in products.items()}


def rotations() -> pd.DataFrame:
    """Return the distance of every head of MiniLM from the nearest plane, beside a shuffled null.

    Returns
    -------
    pandas.DataFrame
        One row per layer, product and head. In the null each weight is exchanged between the
        dimensions of its head at random, several times; the median is given.
    """
    own = NETWORKS[NETWORK]
    weights = packaged_weights(own.package, own.file)
    rows: list[dict[str, Any]] = []
    for layer in (f"encoder.layer.{k}" for k in range(LAYERS)):
        for product, heads in heads_of(weights, layer, HEADS).items():
            for head, one in enumerate(heads):
                draw = generator(0, "census", "rotations", layer, product, head)
                orders = (torch.rand(one.shape, generator=draw).argsort(0) for _ in range(SHUFFLES))
                null = [nearest_rotation(one.gather(0, order)) for order in orders]
                rows.append(
                    {
                        "network": NETWORK,
                        "layer": layer,
                        "product": product,
                        "head": head,
                        "units": len(one),
                        "nearest_plane": nearest_rotation(one),
                        "nearest_plane_null": float(torch.tensor(null).median()),
                        "effective_rank": float(effective_rank(one.double())),
                    }
                )
    return pd.DataFrame(rows)
