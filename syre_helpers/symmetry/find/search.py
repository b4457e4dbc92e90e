"""The search for the reflections of a model: trace, labels, candidates, proof."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..._checks import check_nonnegative_int, check_positive, check_positive_int
from ..._random import generator
from . import rules
from .candidates import Candidate, candidates, wholes
from .engine import Left, structure
from .graph import Graph, record
from .idle import counts, idle_directions
from .layout import entries_used, layout
from .network import Network, undisturbed
from .proof import Prover
from .report import report
from .result import Symmetries
from .swaps import module_swaps, stacked_swaps

# How far a penalty may change, relative to itself.
_SAME_PENALTY = 1e-12
# Operators by whose values a network decides what to compute, as for which expert there are rows.
_DECIDES = frozenset({"nonzero", "_local_scalar_dense"})
# Generic states at which such a network is looked at, beside the first; those of idle parts differ.
_STATES = range(10, 18)


def find_reflections(
    model: nn.Module,
    example_input: Any,
    *,
    outputs: Callable[[Any], Any] | None = None,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    tol: float = 1e-10,
    draws: int = 20,
    seed: int = 0,
) -> Symmetries:
    """Return the reflection symmetries of a model, each proved by evaluation.

    One forward pass is recorded; what each operation demands of the axes of its tensors gives
    families of permutations, sign flips and rotations. Each family is then proved at generic
    parameters in float64, never at the model's own. An operation that is not understood can hide a
    symmetry, and is named in ``left_out``; it never makes a false one. The model, its mode and the
    random state are left as they were.

    Parameters
    ----------
    model : nn.Module
        In any mode and type of numbers. Parameters that do not train (``requires_grad=False``) are
        constants.
    example_input : Tensor, tuple or dict
        What the model is called with: a tensor, a tuple of arguments, or a dict of named ones.
        Small inputs are enough: two rows of a batch, say; for a mixture of experts so many that
        each expert is chosen.
    outputs : callable, optional
        Takes what the model returns, and returns what must not change. Default: all tensors that
        the model returns. A variational autoencoder needs it: a reflection permutes the means of
        its latents, and the loss stays the same.
    penalty : callable, optional
        ``penalty(model)`` is added to the loss, such as ``syre.penalty``; what changes it is no
        symmetry of the regularised loss.
    tol : float
        Largest change of an output, relative to its size. Default 1e-10.
    draws : int
        How many random products of all families are tried; a family that is no symmetry passes with
        a chance of 2^-draws. Default 20.
    seed : int
        Of the generic parameters and the draws. Default 0.

    Returns
    -------
    Symmetries
        One `Family` per row of its ``table``; ``left_out`` says what was not understood. Under
        ``Syre.parametrize`` the reflections are centred at ``-theta_0``. Rows of kind "idle" are no
        mirrors: they count the fixed directions along which no output changes on inputs of this
        shape, such as the same number on all logits of a softmax. Along them a penalty may change.

    Raises
    ------
    ValueError
        If the model cannot run on the input, the input is empty, or the outputs are not finite.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    >>> found = find_reflections(model, torch.ones(4, 3))
    >>> [(family.kind, family.group, family.rank) for family in found]
    [('permutation', 'S_5', 6), ('sign', 'Z_2^5', 6)]
    >>> R = found[0].reflection(1, 4)
    """
    network = Network(model, example_input, outputs, penalty, check_nonnegative_int("seed", seed))
    check_positive("tol", tol)
    check_positive_int("draws", draws)
    with undisturbed(model):
        network.prepare()
        network, graph = _recorded(network)
        known = structure(graph, rules.elementwise)
        where = layout(graph, known)
        prover = Prover(network, tol)
        prover.check_repeats()
        families = candidates(known, where)
        families += wholes(known, where, families)
        idle, shifts = idle_directions(where, prover)
        families = [one for one in families if counts(one, idle)]
        families += module_swaps(network, graph, where, prover, seed)
        families += stacked_swaps(graph, where, prover)
        families = prover.prove(families, draws, seed)
        families = [one for one in families if _moves_what_trains(one, graph)]
        unused = _unused(graph)
        if unused and _decides(graph):  # what only holds because of what was left out
            for number in _STATES:
                families = prover.elsewhere(number).prove(families, 1, seed)
        frozen = [Left(name, "", why) for name, why in network.frozen.items()]
        left = [*known.left, *frozen, *unused]
        families = _kept_in_training(families, prover, seed, left)
        if shifts is None:
            left.append(Left("backward", "", "no gradient: idle combinations are not looked for"))
        if penalty is not None:
            families = _unpenalised(families, prover, seed, left)
        return report(network, families, idle, shifts or [], left)


def _moves_what_trains(family: Candidate, graph: Graph) -> bool:
    """Test whether a family moves a parameter that is read, and not only what nobody reads."""
    read = {value.number for node in graph.nodes for value in node.inputs()}
    used = {one.name for one in graph.sources if one.kind == "parameter" and one.number in read}
    return not used.isdisjoint(family.names())


def _kept_in_training(
    families: list[Candidate], prover: Prover, seed: int, left: list[Left]
) -> list[Candidate]:
    """Return the families that training's own writing to buffers respects, and name the buffers."""
    if not prover.network.own_buffers:
        return families
    kept = [one for one in families if prover.holds_in_training(one, seed)]
    if len(kept) < len(families):
        why = f"{len(families) - len(kept)} families leave the outputs alone, but training does not"
        left += [
            Left(name, "", f"written in training: {why}") for name in prover.network.own_buffers
        ]
    return kept


def _recorded(network: Network) -> tuple[Network, Graph]:
    """Return a network at a generic state, and a pass there; one that leaves out little of it."""
    best: tuple[int, Network, Graph] | None = None
    for number in (None, *_STATES):
        here = network if number is None else network.elsewhere(number)
        graph = record(here.model, here.call, here.state, here.moving, here.inputs)
        unused = len(_unused(graph))
        if best is None or unused < best[0]:
            best = unused, here, graph
        if not unused or not _decides(graph):
            break
    assert best is not None
    return best[1:]


def _decides(graph: Graph) -> bool:
    return any(node.name in _DECIDES for node in graph.nodes)


def _unused(graph: Graph) -> list[Left]:
    """Return the parameters, and the entries of stacks, that a pass did not read."""
    read = {value.number for node in graph.nodes for value in node.inputs()}
    read |= {value.number for value in graph.outputs}
    unused = [
        source.name
        for source in graph.sources
        if source.kind == "parameter" and source.number not in read
    ]
    left = [Left(name, "", "never used") for name in unused]
    for source in graph.sources:
        if source.kind == "parameter" and len(source.shape) > 2 and source.name not in unused:
            rest = sorted(set(range(source.shape[0])) - entries_used(graph, source))
            if rest:
                words = f"entries {', '.join(map(str, rest))} are never used with these inputs"
                left.append(Left(source.name, "", words))
    return left


def _unpenalised(
    families: list[Candidate], prover: Prover, seed: int, left: list[Left]
) -> list[Candidate]:
    """Return the families that leave the penalty as it is, and say how many do not."""
    network = prover.network
    before = network.penalised(prover.state)
    kept = []
    for family in families:
        element = family.drawn(generator(seed, "find", "penalty"))
        with prover.moved([(family, element)]) as state:
            after = network.penalised(state)
        if float((after - before).abs()) <= _SAME_PENALTY * float(before.abs()):
            kept.append(family)
    if len(kept) < len(families):
        lost = len(families) - len(kept)
        left.append(Left("penalty", "", f"{lost} families leave the outputs alone, but change it"))
    return kept
