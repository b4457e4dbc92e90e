"""What a pass through a recorded network finds out about tensors, and what it could not follow."""

from __future__ import annotations

from dataclasses import dataclass

from .axes import Labels
from .labels import FIXED, Axis


@dataclass(eq=False)
class Info:
    """What is known of a tensor: its axes, and the sign variable of all of it.

    `products` are the axes along which it holds a product of two tensors; a sum over all of them
    makes an inner product, which a rotation leaves alone. Along the axes in `spread` it repeats one
    entry.
    """

    axes: list[Axis]
    whole: int = FIXED
    products: frozenset[int] = frozenset()
    spread: frozenset[int] = frozenset()


@dataclass(eq=False)
class Stack:
    """Tensors that lie behind one another along an axis, each with labels of its own."""

    dim: int
    members: list[Info]


@dataclass(frozen=True)
class Left:
    """An operation that could not be followed: its inputs' units are taken as told apart.

    Parameters
    ----------
    operator : str
        Its name.
    module : str
        The module that called it.
    why : str
        In words.
    """

    operator: str
    module: str
    why: str


@dataclass(eq=False)
class Structure:
    """What the passes found: labels and sign relations of all sources, and of what they met."""

    labels: Labels
    sources: dict[int, Info | Stack]
    tensors: list[Info]
    mixed: list[tuple[Info, frozenset[int]]]
    left: list[Left]
