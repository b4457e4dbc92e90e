"""The two products of an attention head: their singular values, and a model with less of them.

A head's scores depend on queries and keys through one product alone, and what it sends through
that of values and outputs. Their rank is at most the size of the head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor

from .._checks import check_nonnegative_int

Pair = Literal["query-key", "value-output"]
_PAIRS = {"query-key": ("query", "key"), "value-output": ("out", "value")}
_MARK = ".attention.query.weight"


def head_products(params: Mapping[str, Tensor], heads: int, pair: Pair) -> Tensor:
    r"""Return the product of each head's queries and keys, or outputs and values, in small form.

    With :math:`W_q = Q_1 R_1` transposed and :math:`W_k` likewise, the head's product
    :math:`W_q^T W_k = Q_1 (R_1 R_2^T) Q_2^T` has the singular values of the small matrix in the
    middle, which is returned.

    Parameters
    ----------
    params : mapping of str to Tensor
        Of a `gpt` or a `vit`.
    heads : int
        Number of attention heads.
    pair : {"query-key", "value-output"}
        Which product.

    Returns
    -------
    Tensor
        Shape (blocks, heads, size, size), where size is that of a head; in float64.

    Raises
    ------
    ValueError
        If `pair` is another word, the parameters are not those of such a model, the heads do not
        divide it, or what they compute is no product of two matrices of weights: queries, keys and
        values have biases, or, for "query-key", rotary codes turn them (the model has no vectors
        of places).

    Examples
    --------
    >>> from syre_helpers import measures
    >>> from syre_helpers.models.gpt import gpt
    >>> params = dict(gpt(dim=16, depth=2, heads=2).named_parameters())
    >>> measures.numerical_rank(head_products(params, 2, "query-key"))
    tensor([[8., 8.],
            [8., 8.]], dtype=torch.float64)
    """
    return torch.stack([one.middle for one in _factors(params, heads, pair)])


def with_heads_cut(
    params: Mapping[str, Tensor], heads: int, pair: Pair, rank: int
) -> dict[str, Tensor]:
    """Return parameters in which a product of every head is its best approximation of a rank.

    Best means nearest in the Frobenius norm. For the function another matrix of that rank may be
    better, so what a cut costs is at least what the rank is worth.

    Parameters
    ----------
    params, heads, pair
        As in `head_products`.
    rank : int
        The rank that is left; 0 leaves nothing, and the size of a head leaves all.

    Returns
    -------
    dict of str to Tensor
        All parameters. New are only the two matrices of each block, with the product shared out
        evenly between them.

    Raises
    ------
    ValueError
        As `head_products`, or if `rank` is negative.

    Examples
    --------
    >>> from syre_helpers import measures
    >>> from syre_helpers.models.gpt import gpt
    >>> params = dict(gpt(dim=16, depth=1, heads=2).named_parameters())
    >>> cut = with_heads_cut(params, 2, "query-key", 3)
    >>> measures.numerical_rank(head_products(cut, 2, "query-key"), rtol=1e-4)
    tensor([[3., 3.]], dtype=torch.float64)
    """
    check_nonnegative_int("rank", rank)
    changed = dict(params)
    for one in _factors(params, heads, pair):
        u, s, vh = torch.linalg.svd(one.middle)
        root = torch.where(torch.arange(s.shape[-1], device=s.device) < rank, s, 0 * s).sqrt()
        left = (one.bases[0] @ u * root[:, None, :]).transpose(1, 2).flatten(0, 1)
        right = (one.bases[1] @ vh.transpose(1, 2) * root[:, None, :]).transpose(1, 2).flatten(0, 1)
        like = params[one.names[0]]
        changed[one.names[0]] = (left if pair == "query-key" else left.T).to(like)
        changed[one.names[1]] = right.to(like)
    return changed


class _Factors:
    """The two factors of the product of one block's heads, as orthonormal bases and a middle."""

    def __init__(self, names: tuple[str, str], left: Tensor, right: Tensor) -> None:
        self.names = names
        (q1, r1), (q2, r2) = (torch.linalg.qr(x.transpose(1, 2)) for x in (left, right))
        self.bases = q1, q2
        self.middle = r1 @ r2.transpose(1, 2)


def _factors(params: Mapping[str, Tensor], heads: int, pair: Pair) -> Iterator[_Factors]:
    if pair not in _PAIRS:
        raise ValueError(f"pair={pair!r} must be one of {', '.join(_PAIRS)}")
    blocks = [name.removesuffix(_MARK) for name in params if name.endswith(_MARK)]
    if not blocks:
        raise ValueError(f"params has no {_MARK!r}; pass those of models.gpt or models.vit")
    for block in blocks:
        names = [f"{block}.attention.{part}.weight" for part in _PAIRS[pair]]
        if f"{block}.attention.query.bias" in params:
            raise ValueError("params has biases of queries, keys and values; no head is a product")
        if pair == "query-key" and "embed.position" not in params:
            raise ValueError("params has no 'embed.position': rotary codes turn queries and keys")
        left, right = (params[name].detach().double() for name in names)
        if pair == "value-output":
            left = left.T  # its columns belong to the heads
        if heads < 1 or len(left) % heads:
            raise ValueError(f"heads={heads} must divide the {len(left)} dimensions of {block}")
        yield _Factors(
            (names[0], names[1]),
            left.unflatten(0, (heads, -1)),
            right.unflatten(0, (heads, -1)),
        )
