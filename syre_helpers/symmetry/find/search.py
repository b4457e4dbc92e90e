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
from .layout import layout
from .network import Network, undisturbed
from .proof import Prover
from .report import report
from .result import Symmetries
from .swaps import module_swaps

# How far a penalty may change, relative to itself.
_SAME_PENALTY = 1e-12


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
        Small inputs are enough: two rows of a batch, say.
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
        ``Syre.parametrize`` the reflections are centred at ``-theta_0``.

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
        graph = record(model, network.call, network.state, network.moving, network.inputs)
        known = structure(graph, rules.elementwise)
        where = layout(graph, known)
        prover = Prover(network, tol)
        families = candidates(known, where)
        families += wholes(known, where, families)
        idle, shifts = idle_directions(where, prover)
        families = [one for one in families if counts(one, idle)]
        families += module_swaps(network, graph, where, prover, seed)
        families = prover.prove(families, draws, seed)
        left = [*known.left, *_unused(network, graph)]
        if shifts is None:
            left.append(Left("backward", "", "no gradient: idle combinations are not looked for"))
        if penalty is not None:
            families = _unpenalised(families, prover, seed, left)
        return report(network, families, idle, shifts or [], left)


def _unused(network: Network, graph: Graph) -> list[Left]:
    read = {value.number for node in graph.nodes for value in node.inputs()}
    read |= {value.number for value in graph.outputs}
    unused = [
        source.name
        for source in graph.sources
        if source.kind == "parameter" and source.number not in read
    ]
    return [Left(name, "", "frozen") for name in network.frozen] + [
        Left(name, "", "never used") for name in unused
    ]


def _unpenalised(
    families: list[Candidate], prover: Prover, seed: int, left: list[Left]
) -> list[Candidate]:
    """Return the families that leave the penalty as it is, and say how many do not."""
    network = prover.network
    before = network.penalised(prover.state)
    kept = []
    for family in families:
        element = family.drawn(generator(seed, "find", "penalty"))
        after = network.penalised(prover.moved([(family, element)]))
        if float((after - before).abs()) <= _SAME_PENALTY * float(before.abs()):
            kept.append(family)
    if len(kept) < len(families):
        lost = len(families) - len(kept)
        left.append(Left("penalty", "", f"{lost} families leave the outputs alone, but change it"))
    return kept
