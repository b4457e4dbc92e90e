"""Families that the labels of a network suggest; each still has to be proved."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .action import Element, Site, sites
from .engine import Structure
from .labels import FIXED, Label
from .layout import Layout, Piece, companions
from .signs import components, solutions


@dataclass(eq=False)
class Candidate:
    """A family of reflections: `members` times the same group of `units` units.

    `kind` is "permutation", "sign", "rotation", "module swap" or "whole"; `per` says what numbers
    the members. `pieces` are tensors negated as a whole, `modules` are the names of the tensors
    of each module that changes places.
    """

    kind: str
    units: int
    members: int = 1
    per: str = ""
    sites: list[Site] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    modules: list[list[str]] = field(default_factory=list)
    violation: float = math.nan

    def names(self) -> list[str]:
        """Return the names of the tensors that move, in order."""
        moved = [site.piece.name for site in self.sites] + [piece.name for piece in self.pieces]
        moved += [name for names in self.modules for name in names]
        return list(dict.fromkeys(moved))

    def drawn(self, source: torch.Generator) -> Element:
        """Return a random element of the whole group."""
        shape = self.members, self.units
        if self.kind in ("permutation", "module swap"):
            return Element(order=torch.rand(shape, generator=source).argsort(1))
        if self.kind in ("sign", "whole"):
            bits = torch.randint(2, shape, generator=source)
            return Element(signs=1 - 2 * bits)
        gaussian = torch.randn((*shape, self.units), generator=source, dtype=torch.float64)
        q, r = torch.linalg.qr(gaussian)
        return Element(matrix=q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :])


def candidates(structure: Structure, layout: Layout) -> list[Candidate]:
    """Return all families that the labels suggest.

    Parameters
    ----------
    structure : Structure
        Labels and sign relations.
    layout : Layout
        Where they lie.

    Returns
    -------
    list of Candidate
        Permutations and rotations, then signs that are not among these.
    """
    groups = _welded(structure, layout)
    found: list[Candidate] = []
    covered: list[tuple[frozenset[Label], Support]] = []
    rotated: set[Label] = set()
    for group, beside in groups:
        if any(label.pinned for label in group):
            continue
        own = sites(layout, group, beside)
        if own is None or not any(_moves_parameter(site) for site in own):
            continue
        units = math.prod(label.size for label in group)
        kind = "permutation" if any(label.bent for label in group) else "rotation"
        family = Candidate(kind, units, _count(beside), _words(beside), own)
        found.append(family)
        if kind == "rotation":
            rotated |= set(group)
            covered.append((frozenset((*group, *beside)), _support(layout, own)))
    flips = _signs(structure, layout, groups, rotated, covered)
    return found + flips


Support = frozenset


def _moves_parameter(site: Site) -> bool:
    return not site.piece.name.startswith("noise ")


def _count(beside: list[Label]) -> int:
    return math.prod(label.size for label in beside)


def _words(beside: list[Label]) -> str:
    names = ["head" if label.softmax else "block" for label in beside]
    return " and ".join(dict.fromkeys(names))


def _welded(structure: Structure, layout: Layout) -> list[tuple[list[Label], list[Label]]]:
    """Return the labels, those that always stand together as one, with what is beside them."""
    near = {label: companions(structure, label) for label in layout.occurrences}
    done: set[Label] = set()
    groups = []
    for label in layout.occurrences:
        if label in done:
            continue
        group = [label]
        for other in near[label]:
            mutual = label in near.get(other, ()) and bool(other.pinned) == bool(label.pinned)
            together = mutual and other not in done and not label.pinned
            if together and _on_one_axis(layout, label, other):
                group.append(other)
        done |= set(group)
        group = _in_order(layout, group)
        common = set.intersection(*(near[one] for one in group)) - set(group)
        groups.append((group, _sorted(common)))
    return groups


def _on_one_axis(layout: Layout, a: Label, b: Label) -> bool:
    return all(any(other is b for other, _ in one.beside) for one in layout.occurrences[a]) and all(
        any(other is a for other, _ in one.beside) for one in layout.occurrences[b]
    )


def _in_order(layout: Layout, group: list[Label]) -> list[Label]:
    """Return labels outermost first, as they lie in the first tensor that has them."""
    stride = {label: layout.occurrences[label][0].stride for label in group}
    return sorted(group, key=lambda label: -stride[label])


def _sorted(labels: set[Label]) -> list[Label]:
    return sorted(labels, key=lambda label: (label.size, id(label)))


def _support(layout: Layout, own: list[Site]) -> Support:
    """Return the entries of each piece that sites reach: axes that they cover in part."""
    reached: dict[tuple[Piece, int], Tensor] = {}
    axes: dict[Piece, set[int]] = {}
    for site in own:
        key = site.piece, site.axis
        inside = site.unit >= 0
        reached[key] = reached[key] | inside if key in reached else inside
        axes.setdefault(site.piece, set()).add(site.axis)
    parts: dict[Piece, set[tuple[int, tuple[bool, ...]]]] = {}
    for (piece, axis), inside in reached.items():
        parts.setdefault(piece, set())
        if not bool(inside.all()):
            parts[piece].add((axis, tuple(inside.tolist())))
    # Along two axes at once a flip is another one than along either.
    return frozenset(
        (piece, frozenset(each), frozenset(axes[piece]) if len(axes[piece]) > 1 else None)
        for piece, each in parts.items()
    )


def _made_up(support: Support, finer: list[Support]) -> bool:
    """Test whether flips of all units are a product of those of finer families, over Z_2."""
    rows: list[tuple[object, Support]] = []
    for one in [*finer, support]:
        for pivot, row in rows:
            if pivot in one:
                one = one ^ row
        if one:
            rows.append((next(iter(one)), one))
        last = one
    return not last


def _signs(
    structure: Structure,
    layout: Layout,
    groups: list[tuple[list[Label], list[Label]]],
    rotated: set[Label],
    covered: list[tuple[frozenset[Label], Support]],
) -> list[Candidate]:
    """Return the sign flips of units, the lightest first, without those that others make up."""
    together = {label: group for group, _ in groups for label in group}
    drafts = []
    for label, basis in _solved(structure, layout):
        for ones in basis:
            beside = companions(structure, label, ones)
            group = together.get(label, [label])
            joint = [one for one in group if one is label or one in beside]
            if label.pinned or len(joint) < len(group):
                joint = [label]
            beside -= set(joint)
            own = sites(layout, joint, _sorted(beside), ones)
            if own is None:
                joint, beside = [label], companions(structure, label) - {label}
                own = sites(layout, joint, _sorted(beside), ones)
            if own is None:
                own, beside = sites(layout, joint, [], ones), set[Label]()
            if not own or not any(_moves_parameter(site) for site in own):
                continue
            drafts.append((joint, _sorted(beside), own))
    # The finest first: what its flips make up together is left out.
    # Of two names for the same flips, units within a head rather than heads.
    drafts.sort(
        key=lambda one: (
            -len(one[0]) - len(one[1]),
            any(label.softmax for label in one[0]),
            -math.prod(label.size for label in one[0]),
        )
    )
    found = []
    for joint, near, own in drafts:
        index, support = frozenset((*joint, *near)), _support(layout, own)
        if _made_up(support, [other for finer, other in covered if index <= finer]):
            continue
        covered.append((index, support))
        units = math.prod(label.size for label in joint)
        found.append(Candidate("sign", units, _count(near), _words(near), own))
    return found


def _solved(structure: Structure, layout: Layout) -> list[tuple[Label, list[set[int]]]]:
    """Return for each label the independent sign flips of one of its units."""
    equations = structure.labels.equations
    part = components(equations, structure.labels.variables)
    by_part: dict[int, list[tuple[int, ...]]] = {}
    for equation in equations:
        linked = [one for one in equation if one != FIXED]
        if linked:
            by_part.setdefault(part[linked[0]], []).append(equation)
    result = []
    for label, occurrences in layout.occurrences.items():
        signs = sorted({one.sign for one in occurrences if one.sign != FIXED})
        basis = []
        for _, each in itertools.groupby(
            sorted(signs, key=lambda one: part[one]), key=lambda one: part[one]
        ):
            own = list(each)
            basis += solutions(by_part.get(part[own[0]], []), own)
        if basis:
            result.append((label, basis))
    return result


def wholes(structure: Structure, layout: Layout, families: list[Candidate]) -> list[Candidate]:
    """Return signs of whole tensors that are no product of sign flips of units.

    Parameters
    ----------
    structure, layout
        Of the network.
    families : list of Candidate
        Those found so far, which make up some of them.

    Returns
    -------
    list of Candidate
        Such as the sign of all that a transformer's stream holds.
    """
    signs = {info.whole: piece for piece, info in layout.pieces.items() if info.whole != FIXED}
    equations = structure.labels.equations
    part = components(equations, structure.labels.variables)
    own = {part[one] for one in signs}
    linked = [
        equation
        for equation in equations
        if any(one != FIXED and part[one] in own for one in equation)
    ]
    cells = _cells(layout)
    space = _Space()
    for family in families:
        if family.kind in ("sign", "rotation"):
            space.add(_flipped(family.sites, cells))
    found = []
    for ones in solutions(linked, sorted(signs)):
        pieces = [piece for one, piece in signs.items() if one in ones]
        vector = 0
        for place, (piece, _) in enumerate(cells):
            vector |= (piece in pieces) << place
        moved = any(not piece.name.startswith("noise ") for piece in pieces)
        if moved and space.add(vector):
            found.append(Candidate("whole", 1, pieces=pieces))
    return found


def _cells(layout: Layout) -> list[tuple[Piece, tuple[int, ...]]]:
    """Return one entry of each region of each piece that sign flips reach as one."""
    cells: list[tuple[Piece, tuple[int, ...]]] = []
    for piece, shape in layout.shapes.items():
        places = []
        for axis, n in enumerate(shape):
            rows = [
                one.unit >= 0
                for each in layout.occurrences.values()
                for one in each
                if one.piece == piece and one.axis == axis
            ]
            patterns: dict[tuple[bool, ...], int] = {}
            columns = torch.stack(rows, 1).tolist() if rows else [[]] * n
            for place, column in enumerate(columns):
                patterns.setdefault(tuple(column), place)
            places.append(list(patterns.values()))
        cells += [(piece, where) for where in itertools.product(*places)]
    return cells


def _flipped(own: list[Site], cells: list[tuple[Piece, tuple[int, ...]]]) -> int:
    """Return the cells that change sign when all units do, as bits."""
    vector = 0
    for place, (piece, where) in enumerate(cells):
        odd = False
        for site in own:
            if site.piece == piece and int(site.unit[where[site.axis]]) >= 0:
                odd = not odd
        vector |= odd << place
    return vector


class _Space:
    """A vector space over two elements, its vectors as bits of whole numbers."""

    def __init__(self) -> None:
        self.pivots: dict[int, int] = {}

    def add(self, vector: int) -> bool:
        """Add a vector, and return True if it was not in the space already."""
        while vector:
            top = vector.bit_length()
            if top not in self.pivots:
                self.pivots[top] = vector
                return True
            vector ^= self.pivots[top]
        return False
