"""The tensors in what a model is called with and in what it returns, however they are nested."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map


def tensors_in(value: Any) -> list[Tensor]:
    """Return all tensors in nested containers and objects, such as a distribution, in order."""
    return _tensors_in(value, set())


def _tensors_in(value: Any, seen: set[int]) -> list[Tensor]:
    found: list[Tensor] = []
    for leaf in tree_flatten(value)[0]:
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif id(leaf) in seen:
            continue
        elif isinstance(leaf, Mapping):
            found += _tensors_in(list(leaf.values()), seen | {id(leaf)})
        elif _has_contents(leaf):
            found += _tensors_in(list(vars(leaf).values()), seen | {id(leaf)})
    return found


def mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return a copy of nested containers and objects in which each tensor is replaced."""

    def inside(one: Any) -> Any:
        if isinstance(one, Tensor):
            return function(one)
        if not _has_contents(one) or not tensors_in(one):
            return one
        other = copy.copy(one)
        for name, content in vars(one).items():
            object.__setattr__(other, name, mapped(content, function))
        return other

    return tree_map(inside, value)


def _has_contents(value: Any) -> bool:
    return (
        hasattr(value, "__dict__")
        and not isinstance(value, type | nn.Module)
        and not callable(value)
    )


def in_float64(value: Tensor) -> Tensor:
    """Return a copy in float64; whole numbers stay whole, complex ones complex."""
    plain = value.detach()
    if plain.is_complex():
        return plain.to(torch.complex128).clone()
    return plain.to(torch.float64).clone() if plain.is_floating_point() else plain.clone()


def arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return an example input as arguments by place and by name, in float64.

    Returns
    -------
    tuple
        A tuple and a dict.

    Raises
    ------
    TypeError
        If it is no tensor, tuple or dict.
    ValueError
        If one of its tensors is empty.
    """

    def wide(one: Tensor) -> Tensor:
        if one.numel() == 0:
            raise ValueError(
                f"example_input has a tensor of shape {tuple(one.shape)}, which is empty; pass at "
                "least one row"
            )
        return in_float64(one)

    if isinstance(example, Mapping):
        return (), {name: mapped(one, wide) for name, one in example.items()}
    if isinstance(example, tuple | list):
        return tuple(mapped(one, wide) for one in example), {}
    if not isinstance(example, Tensor):
        raise TypeError(
            f"example_input is a {type(example).__name__}; pass a tensor, a tuple of arguments, or "
            "a dict of named arguments"
        )
    return (wide(example),), {}
