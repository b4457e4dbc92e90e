"""The classes of units of a model: from the symmetries that were found, or row by row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from ..removal.names import canonical_name
from ..symmetry import Family, Symmetries, find_reflections
from .rows import LeftOut, classes_of_rows
from .units import Part, Role, State, UnitClass

_MOST_FLIPS = 3  # of a unit that are multiplied: a network has one or two
_SAMPLES = 4  # that the search for symmetries is run on
_IN_ORDER = (
    "modules are compared scalar by scalar: one that copies another with its own hidden units in "
    "another order is not seen as a copy"
)


def classes_of(
    model: nn.Module, inputs: Any, found: Symmetries | None, state: State, left_out: LeftOut
) -> list[UnitClass]:
    """Return the classes of units of a model.

    Parameters
    ----------
    model : nn.Module
        Any model.
    inputs : Any
        What it is called with.
    found : Symmetries or None
        What `find_reflections` returned; None to call it.
    state : mapping of str to Tensor
        Parameters and buffers, by canonical name.
    left_out : list
        Takes what could not be followed.

    Returns
    -------
    list of UnitClass
        One per family of permutations and its members, one per family of rotations, one per family
        of modules that change places, and one per family of sign flips of other units. Where
        nothing was found, the rows of each weight.

    Raises
    ------
    ValueError
        If `found` was given, and is of a model with other parameters.
    """
    if found is None:
        try:
            found = symmetries_of(model, inputs)
        except Exception as error:  # whatever a stranger's model raises
            words = str(error).splitlines() or [type(error).__name__]
            left_out.append(("symmetries", f"{words[0][:200]}; each row of a weight is a unit"))
            return classes_of_rows(state, left_out)
    else:
        _check_fits(found, {**state, **dict(model.named_parameters())})
    modules = {canonical_name(f"{name}.")[:-1]: m for name, m in model.named_modules()}
    classes = list(_of_families(found, modules, left_out))
    for one in found.left_out:
        left_out.append(
            (f"{one.operator} in {one.module}" if one.module else one.operator, one.why)
        )
    if not any(one.parts for one in classes):
        left_out.append(("symmetries", "no units change places; each row of a weight is a unit"))
        return classes_of_rows(state, left_out)
    return _named_apart(classes)


def _check_fits(found: Symmetries, state: State) -> None:
    """Check that families move tensors of a model, and as many units as lie there."""
    for family in found:
        for site in () if family.candidate is None else family.candidate.sites:
            raw = site.piece.name
            tensor = state.get(raw, state.get(canonical_name(raw)))
            axis = site.axis + (site.piece.entry is not None)
            fits = tensor is not None and tensor.shape[axis : axis + 1] == (len(site.unit),)
            if not fits and not raw.startswith("noise "):
                shape = "is not there" if tensor is None else f"has shape {tuple(tensor.shape)}"
                raise ValueError(
                    f"found is of another model: it moves {len(site.unit)} entries of {raw!r} "
                    f"along axis {axis}, which {shape} in this model; leave found=... out"
                )


def symmetries_of(model: nn.Module, inputs: Any) -> Symmetries:
    """Return the symmetries of a model, searched for on few samples if it takes them.

    Parameters
    ----------
    model : nn.Module
        Any model.
    inputs : Any
        What it is called with.

    Returns
    -------
    Symmetries
        As of `find_reflections`, and with its errors.
    """
    leaves = [leaf for leaf in tree_flatten(inputs)[0] if isinstance(leaf, Tensor) and leaf.ndim]
    if len({len(leaf) for leaf in leaves}) == 1 and len(leaves[0]) > _SAMPLES:
        few = tree_map(
            lambda leaf: leaf[:_SAMPLES] if isinstance(leaf, Tensor) and leaf.ndim else leaf, inputs
        )
        try:
            return find_reflections(model, few)
        except ValueError:
            pass
    return find_reflections(model, inputs)


def _of_families(
    found: Symmetries, modules: Mapping[str, nn.Module], left_out: LeftOut
) -> Iterator[UnitClass]:
    """Yield the classes of all families whose units own scalars."""
    permuted = [one for one in found if one.kind == "permutation"]
    signs = [one for one in found if one.kind == "sign" and one.candidate is not None]
    for family in permuted:
        flips = [one for one in signs if _same_units(family, one)]
        kinds = ("permutation", "sign") if flips else ("permutation",)
        for member in range(family.count):
            yield _class(family, kinds, member, modules, flips)
    for family in found:
        if family.kind == "rotation" and family.count == 1:  # swaps are among the rotations
            yield _class(family, ("rotation",), 0, modules, ())
    for family in found:
        if family.kind == "module swap":
            swapped = _modules(family, modules)
            left_out.append((f"copies in {swapped.name}", _IN_ORDER))
            yield swapped
        covered = any(_same_units(one, family) for one in permuted)
        lone = family.kind == "sign" and not covered and family.candidate is not None
        heads = family.kind == "rotation" and family.count > 1
        if heads or (lone and family.units > 1):
            yield _together(family)


def _same_units(family: Family, other: Family) -> bool:
    same = (family.units, family.count) == (other.units, other.count)
    return same and set(other.tensors) <= set(family.tensors)


def _class(
    family: Family,
    kinds: tuple[str, ...],
    member: int,
    modules: Mapping[str, nn.Module],
    signs: Sequence[Family],
) -> UnitClass:
    """Return the class of one member of a family, such as one head."""
    parts = tuple(_parts_of(family, member, modules))
    made = {part.tensor.rpartition(".")[0] for part in parts if part.role == "incoming"}
    makers = [layer for layer in family.layers if canonical_name(f"{layer}.")[:-1] in made]
    name = (makers or family.layers)[0] + (f" [{family.per} {member}]" * (family.count > 1))
    if any(part.role == "module" for part in parts):
        return UnitClass(name, kinds, family.units, _wholly(parts))
    moved = _sites(family)
    negated = [
        {k for k, site in enumerate(moved) if any(_same_place(site, one) for one in _sites(flip))}
        for flip in signs
    ]
    return UnitClass(name, kinds, family.units, parts, flips=_products(negated))


def _sites(family: Family) -> list[Any]:
    """Return the sites of a family's units, in tensors of the model."""
    assert family.candidate is not None
    return [site for site in family.candidate.sites if not site.piece.name.startswith("noise ")]


def _parts_of(family: Family, member: int, modules: Mapping[str, nn.Module]) -> Iterator[Part]:
    """Yield the parts that the units of one member of a family own, tensor by tensor."""
    for site in _sites(family):
        raw = site.piece.name
        name, entry = canonical_name(raw), site.piece.entry
        module = modules.get(name.rpartition(".")[0])
        role: Role | None = "buffer" if raw in family.buffers else None
        rows: Callable[[Tensor], Tensor] | None = None
        entries = None
        if site.others or entry is not None:

            def rows(tensor: Tensor, site: Any = site) -> Tensor:
                piece = tensor if site.piece.entry is None else tensor[site.piece.entry]
                return site.rows(piece, family.count, family.units)[member]

        else:
            place = torch.where((site.unit >= 0) & (site.own == member), site.unit, -1)
            order = place.argsort(stable=True)
            entries = order[int((place < 0).sum()) :].view(family.units, -1)
        own = role or role_of(module, name, site.axis)
        if own == "incoming" and entry is None and _stacks_matrices(module, name):
            own = "module"
        yield Part(name, site.axis, entries, own, rows)


def _stacks_matrices(module: nn.Module | None, name: str) -> bool:
    """Test whether each entry of a parameter is a matrix, as of experts in one tensor."""
    kernel = isinstance(module, nn.modules.conv._ConvNd | nn.Bilinear)
    tensor = getattr(module, name.rpartition(".")[2], None)
    return not kernel and isinstance(tensor, Tensor) and tensor.ndim == 3


def _wholly(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return the parts of the units inside of modules as parts of the modules, without buffers."""
    # What a module does is a vector: its features are not recorded, and have no ranks.
    return tuple(
        Part(
            one.tensor, one.axis, None, "outgoing" if one.role == "outgoing" else "module", one.rows
        )
        for one in parts
        if one.role != "buffer"
    )


def _modules(family: Family, modules: Mapping[str, nn.Module]) -> UnitClass:
    """Return the class of modules that may change places: each is a unit."""
    assert family.candidate is not None
    parts = [
        Part(canonical_name(first), 0, None, "module", None, tuple(map(canonical_name, others)))
        for first, *others in zip(*family.candidate.modules, strict=True)
        if first not in family.buffers
    ]
    parts += _wholly(_parts_of(family, 0, modules))
    paths = [_path(names) for names in family.candidate.modules]
    name = " and ".join(paths) if len(paths) == 2 else f"{paths[0]} to {paths[-1]}"
    return UnitClass(f"{name} [{len(paths)} modules]", ("module swap",), len(paths), tuple(parts))


def _path(names: list[str]) -> str:
    """Return the path of the module that holds all of some tensors."""
    levels = zip(*(canonical_name(name).split(".")[:-1] for name in names), strict=False)
    shared = itertools.takewhile(lambda level: len(set(level)) == 1, levels)
    return ".".join(level[0] for level in shared)


def _same_place(site: Any, other: Any) -> bool:
    where = (site.piece, site.axis) == (other.piece, other.axis)
    return where and torch.equal(site.unit, other.unit)


def _products(flips: Sequence[set[int]]) -> tuple[frozenset[int], ...]:
    """Return all products of some flips of a unit's sign, but for the one that does nothing."""
    found: dict[frozenset[int], None] = {frozenset(): None}
    for flip in flips[:_MOST_FLIPS]:
        found |= {one ^ flip: None for one in found}
    return tuple(found)[1:]


def _together(family: Family) -> UnitClass:
    """Return the class of a family whose members are judged together."""

    def vectors(state: State) -> Tensor:
        raw = {name: state[canonical_name(name)] for name in family.tensors if "noise " not in name}
        # The state is what the model computes with, whose planes are centred at 0.
        return family.vectors({n: p + family.centre.get(n, 0) for n, p in raw.items()})

    name = family.layers[0] + (f" [{family.count} {family.per}s]" if family.count > 1 else "")
    return UnitClass(name, (family.kind,), family.units, (), vectors)


def _named_apart(classes: list[UnitClass]) -> list[UnitClass]:
    """Return the classes, those of one name numbered."""
    seen: dict[str, int] = {}
    named = []
    for one in classes:
        seen[one.name] = seen.get(one.name, 0) + 1
        name = one.name if seen[one.name] == 1 else f"{one.name} ({seen[one.name]})"
        named.append(replace(one, name=name))
    return named


def role_of(module: nn.Module | None, tensor: str, axis: int) -> Role:
    """Return the role that the entries along one axis of a parameter have for their units.

    Parameters
    ----------
    module : nn.Module or None
        The module that the parameter belongs to.
    tensor : str
        Its name.
    axis : int
        The axis.

    Returns
    -------
    str
        As in `Part`.
    """
    kinds = {kind.__name__ for kind in type(module).__mro__}
    if any("Norm" in kind for kind in kinds):
        return "gain" if tensor.endswith("weight") else "shift"
    if "bias" in tensor.rpartition(".")[2]:
        return "shift"
    # Most weights are (outputs, inputs, ...).
    if isinstance(module, nn.modules.conv._ConvTransposeNd) or "Conv1D" in kinds:
        return "outgoing" if axis == 0 else "incoming"
    if isinstance(module, nn.Embedding):
        return "incoming"
    return "incoming" if axis == 0 else "outgoing"
