"""Parameters that are spread over processes: their elements here, and other values spread alike.

A sharded parameter (a ``DTensor``, as ``torch.distributed.fsdp.fully_shard`` makes them) has the
shape of the whole and holds a part of it. It is known by its attributes: nothing of
``torch.distributed`` is imported here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Test whether a tensor is spread over processes."""
    return hasattr(tensor, "placements") and hasattr(tensor, "device_mesh")


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds; it shares memory with the tensor."""
    part: Any = tensor
    return part.to_local() if is_sharded(tensor) else tensor


def global_indices(tensor: Tensor) -> Tensor:
    """Return the indices, in the whole flattened tensor, of the elements that this process holds.

    Parameters
    ----------
    tensor : Tensor
        A parameter, sharded or not.

    Returns
    -------
    Tensor
        int64, on the device of `tensor` and shaped like the part that is here.

    Raises
    ------
    ValueError
        If the parts of a sharded tensor are terms of a sum, or of no known layout.

    Examples
    --------
    >>> import torch
    >>> global_indices(torch.zeros(2, 3)).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    if not is_sharded(tensor):
        return torch.arange(tensor.numel(), device=tensor.device).reshape(tensor.shape)
    flat = torch.zeros([1] * tensor.ndim, dtype=torch.int64, device=tensor.device)
    for axis, place in enumerate(_places(tensor)):
        later = [1] * (tensor.ndim - axis - 1)
        flat = flat * tensor.shape[axis] + place.to(tensor.device).reshape(-1, *later)
    return flat


def local_offset(tensor: Tensor) -> int | None:
    """Return the first of `global_indices` where these are consecutive, else None.

    They are for a parameter that is not sharded, and for one that is cut along its first axis.

    Parameters
    ----------
    tensor : Tensor
        A parameter, sharded or not.

    Returns
    -------
    int or None
        0 where this process holds no element.

    Examples
    --------
    >>> import torch
    >>> local_offset(torch.zeros(2, 3))
    0
    """
    if not is_sharded(tensor):
        return 0
    start = last = 0
    count = 1
    for place, size in zip(_places(tensor), tensor.shape, strict=True):
        if len(place) == 0:
            return 0
        start, last = start * size + int(place[0]), last * size + int(place[-1])
        count *= len(place)
    # Indices rise, so this is a run if and only if nothing is left out.
    return start if last - start + 1 == count else None


def distribute_like(values: Tensor, like: Tensor) -> Tensor:
    """Return the tensor, spread as `like` is, of whose elements this process holds `values`."""
    if not is_sharded(like):
        return values
    spread: Any = like
    return type(spread).from_local(
        values,
        spread.device_mesh,
        spread.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )


def _places(tensor: Tensor) -> list[Tensor]:
    """Return the places along each axis of a sharded tensor that this process holds."""
    spread: Any = tensor
    places = [torch.arange(size) for size in tensor.shape]
    shape, coordinate = spread.device_mesh.shape, spread.device_mesh.get_coordinate()
    for placement, parts, own in zip(spread.placements, shape, coordinate, strict=True):
        if hasattr(placement, "dim"):
            places[placement.dim] = _part(places[placement.dim], placement, parts, own)
        elif not placement.is_replicate():
            raise ValueError(
                f"a tensor placed as {spread.placements} holds terms of a sum; syre needs "
                "parameters that are sharded or replicated"
            )
    here = tuple(local(tensor).shape)
    if tuple(map(len, places)) != here:
        raise ValueError(
            f"a tensor of shape {tuple(tensor.shape)} placed as {spread.placements} has the part "
            f"{here} here, which is of no layout that is known"
        )
    return places


def _part(place: Tensor, placement: Any, parts: int, own: int) -> Tensor:
    """Return the share of a process along one axis, in the order in which it holds it."""
    # A strided shard, as made where ``fully_shard`` meets tensor parallelism, is a share of each of
    # several pieces.
    pieces = place.chunk(getattr(placement, "split_factor", 1))
    shares = [piece.chunk(parts)[own : own + 1] for piece in pieces]
    return torch.cat([place[:0], *(share for found in shares for share in found)])
