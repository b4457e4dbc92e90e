"""Group elements that act on the units of a family, applied to a state in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .labels import Label
from .layout import Layout, Occurrence, Piece

# Entries that are copied at once.
_AT_ONCE = 1 << 16

State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Site:
    """The places of one axis of one piece at which units of a family lie.

    `unit` is the unit at each place, -1 for none, and `base` is where unit 0 would be; `offset`
    says how far from there each unit is. `own` is the number of the family's member ("which head")
    as far as the place tells; `others` are axes that tell the rest, with their share.
    """

    piece: Piece
    axis: int
    unit: Tensor
    base: Tensor
    offset: Tensor
    own: Tensor
    others: tuple[tuple[int, Tensor], ...]
    sign: int

    def rows(self, tensor: Tensor, members: int, units: int) -> Tensor:
        """Return the scalars of each unit, (members, units, scalars)."""
        member = self.own.reshape(-1, *(1,) * (tensor.ndim - 1 - self.axis))
        for axis, share in self.others:
            member = member + share.reshape(-1, *(1,) * (tensor.ndim - 1 - axis))
        unit = self.unit.reshape(-1, *(1,) * (tensor.ndim - 1 - self.axis))
        key = torch.where(unit >= 0, member * units + unit, -1).expand(tensor.shape).reshape(-1)
        order = key.argsort(stable=True)
        order = order[int((key < 0).sum()) :]
        return tensor.reshape(-1)[order.to(tensor.device)].reshape(members, units, -1)


@dataclass(frozen=True)
class Element:
    """A group element for each member of a family: an order, signs, or an orthogonal matrix.

    `order` (members, n) says which unit moves to each place; `signs` (members, n); `matrix`
    (members, n, n). None leaves the units alone.
    """

    order: Tensor | None = None
    signs: Tensor | None = None
    matrix: Tensor | None = None

    def inverse(self) -> Element:
        """Return the element that undoes this one."""
        return Element(
            None if self.order is None else self.order.argsort(-1),
            self.signs,
            None if self.matrix is None else self.matrix.transpose(-1, -2),
        )


def sites(
    layout: Layout,
    labels: Sequence[Label],
    beside: Sequence[Label],
    signs: set[int] | None = None,
) -> list[Site] | None:
    """Return the places of units that are counted by one or more labels together.

    Parameters
    ----------
    layout : Layout
        Where all labels lie.
    labels : sequence of Label
        Whose units: with two labels a unit is a pair of theirs.
    beside : sequence of Label
        The labels that number the family's members.
    signs : set of int, optional
        Only occurrences with these sign variables. Default: all.

    Returns
    -------
    list of Site or None
        None where the labels do not lie on one axis of a piece.
    """
    found = []
    for first in layout.occurrences.get(labels[-1], ()):
        if signs is not None and first.sign not in signs:
            continue
        site = _site(layout, first, labels, beside)
        if site is None:
            return None
        found.append(site)
    return found


def _site(
    layout: Layout, last: Occurrence, labels: Sequence[Label], beside: Sequence[Label]
) -> Site | None:
    near = dict(last.beside)
    inside = last.unit >= 0
    unit = torch.where(inside, 0, -1)
    base = torch.arange(len(last.unit))
    offset = torch.zeros(1, dtype=torch.int64)
    for label in labels:
        if label is last.label:
            places, stride = last.unit, last.stride
        elif label in near:
            places = near[label]
            # The step of a label beside: between places that differ in it by one.
            stride = _stride(layout, last, label, places)
        else:
            return None
        unit = torch.where(inside, unit * label.size + places, -1)
        base = torch.where(inside, base - places * stride, base)
        steps = torch.arange(label.size) * stride
        offset = (offset[:, None] + steps[None, :]).reshape(-1)
    own = torch.zeros(len(last.unit), dtype=torch.int64)
    others = []
    weight = math.prod(label.size for label in beside)
    for label in beside:
        weight //= label.size
        if label in near:
            own = own + torch.where(inside, near[label] * weight, 0)
            continue
        far = [
            one
            for axis in range(len(layout.shapes[last.piece]))
            if axis != last.axis
            for one in layout.places(last.piece, axis, label)
        ]
        if len(far) != 1 or bool((far[0].unit < 0).any()):
            return None
        others.append((far[0].axis, far[0].unit * weight))
    return Site(last.piece, last.axis, unit, base, offset, own, tuple(others), last.sign)


def _stride(layout: Layout, last: Occurrence, label: Label, places: Tensor) -> int:
    for one in layout.places(last.piece, last.axis, label):
        if torch.equal(torch.where(last.unit >= 0, one.unit, -1), places.where(last.unit >= 0, -1)):
            return one.stride
    raise AssertionError("a label beside another has an occurrence of its own")


def apply_(state: State, site: Site, element: Element) -> None:
    """Apply a group element to the places of one site, in place."""
    tensor = site.piece.of(state)
    if not site.others:
        _apply_block(tensor, site, site.own, element)
        return
    (axis, share), *more = site.others
    for value in share.unique().tolist():
        chosen = (share == value).nonzero().reshape(-1).to(tensor.device)
        block = tensor.index_select(axis, chosen)
        inner = Site(
            site.piece, site.axis, site.unit, site.base, site.offset,
            torch.where(site.unit >= 0, site.own + value, site.own), tuple(more), site.sign,
        )  # fmt: skip
        apply_({site.piece.name: block}, _whole(inner), element)
        tensor.index_copy_(axis, chosen, block)


def _whole(site: Site) -> Site:
    return replace(site, piece=Piece(site.piece.name, None))


def _in_parts(tensor: Tensor, axis: int) -> Sequence[Tensor]:
    """Return a tensor cut along its longest other axis: a whole copy of it would take memory."""
    others = [(n, other) for other, n in enumerate(tensor.shape) if other != axis]
    if not others or not tensor.numel():
        return [tensor]
    n, other = max(others)
    step = max(1, _AT_ONCE * n // tensor.numel())
    return [tensor.narrow(other, start, min(step, n - start)) for start in range(0, n, step)]


def _apply_block(tensor: Tensor, site: Site, own: Tensor, element: Element) -> None:
    inside = site.unit >= 0
    members, units = own[inside], site.unit[inside]
    if element.order is not None:
        source = torch.arange(len(site.unit))
        moved = element.order[members, units]
        source[inside] = site.base[inside] + site.offset[moved]
        for part in _in_parts(tensor, site.axis):
            part.copy_(part.index_select(site.axis, source.to(tensor.device)))
    if element.signs is not None:
        factor = torch.ones(len(site.unit), dtype=tensor.dtype)
        factor[inside] = element.signs[members, units].to(tensor.dtype)
        after = (1,) * (tensor.ndim - site.axis - 1)
        tensor.mul_(factor.reshape(-1, *after).to(tensor.device))
    if element.matrix is not None:
        n = element.matrix.shape[-1]
        places = inside.nonzero().reshape(-1)
        # Sort by what is rotated together: member, then the rest of the place, then unit.
        key = (members * (len(site.unit) * n + 1) + site.base[inside] + len(site.unit) * n) * n
        places = places[(key + units).argsort()].to(tensor.device)
        groups = len(places) // n
        which = own[places[::n].cpu()]
        chosen = tensor.index_select(site.axis, places).movedim(site.axis, 0)
        shape = chosen.shape
        rows = chosen.reshape(groups, n, -1)
        matrix = element.matrix.to(tensor)[which.to(tensor.device)]
        rotated = (matrix @ rows).reshape(shape).movedim(0, site.axis)
        tensor.index_copy_(site.axis, places, rotated)
