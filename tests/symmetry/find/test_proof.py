"""The proof by evaluation: nothing false passes, wherever it stands, and NaN is no equality."""

import math
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from syre_helpers.symmetry.find import rules
from syre_helpers.symmetry.find.candidates import candidates
from syre_helpers.symmetry.find.engine import structure
from syre_helpers.symmetry.find.graph import record
from syre_helpers.symmetry.find.layout import layout
from syre_helpers.symmetry.find.network import Network
from syre_helpers.symmetry.find.proof import Prover, transform_
from syre_helpers.symmetry.find.swaps import module_swaps

from . import zoo


def prover_of(model, inputs):
    """Return a prover of a network, and the families that its labels suggest."""
    network = Network(model.eval(), inputs, None, None, 0)
    network.prepare()
    graph = record(model, network.call, network.state, network.moving, network.inputs)
    known = structure(graph, rules.elementwise)
    where, prover = layout(graph, known), Prover(network, 1e-10)
    families = candidates(known, where)
    return prover, families + module_swaps(network, graph, where, prover, 0)


@pytest.fixture
def proof():
    """Return a prover of a ReLU network with three layers, and the true families of its units."""
    return prover_of(zoo.mlp(4, 5, 6, 3), torch.tensor([[1.0], [-0.5]]) * torch.ones(2, 4))


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", ["linear", "conv_bn", "llama", "lstm", "experts_in_a_list"])
def test_a_state_is_as_before_when_it_has_been_moved(name, fails):
    """Bit for bit; in between it is what the same elements make of a copy."""
    make, inputs, *_ = zoo.CASES[name]
    prover, families = prover_of(make(), inputs)
    source = torch.Generator().manual_seed(0)
    elements = [(one, one.drawn(source)) for one in families * 2]
    before = {name: value.clone() for name, value in prover.state.items()}
    copy = {name: value.clone() for name, value in prover.state.items()}
    for family, element in elements:
        transform_(copy, family, element)
    with suppress(ZeroDivisionError), prover.moved(elements) as state:
        assert all(torch.equal(state[name], value) for name, value in copy.items())
        assert not all(torch.equal(before[name], value) for name, value in copy.items())
        if fails:
            raise ZeroDivisionError
    assert before.keys() == prover.state.keys()
    assert all(torch.equal(prover.state[name], value) for name, value in before.items())


@pytest.mark.parametrize("places", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
def test_false_families_are_found_wherever_they_stand(proof, places):
    prover, true = proof
    assert [(one.kind, one.units) for one in true] == [("permutation", 5), ("permutation", 6)]
    families, false = list(true), []
    for place in places:
        false.append(replace(true[place % 2], kind="sign"))  # of units behind a ReLU
        families.insert(place, false[-1])
    kept = prover.prove(families, 20, 0)
    assert [id(one) for one in kept] == [id(one) for one in true]
    assert all(one.violation <= 1e-12 for one in kept)


def test_the_violation_is_the_largest_of_all_draws(proof, monkeypatch):
    prover, true = proof
    seen = iter([2e-13, 7e-13, 3e-13])
    monkeypatch.setattr(Prover, "violation", lambda self, families: next(seen))
    assert prover.prove(true, 3, 0) == true
    assert [one.violation for one in true] == [7e-13, 7e-13]


def test_what_is_no_number_or_has_another_shape_is_far_away(proof):
    prover, _ = proof
    (outputs,) = prover.reference
    assert prover.difference([outputs.clone()]) == 0
    apart = outputs.clone()
    apart[1, 2] += 0.25 * outputs.abs().max()
    assert prover.difference([apart]) == pytest.approx(0.25)
    for wrong in (math.nan, math.inf):
        apart[1, 2] = wrong
        assert prover.difference([apart]) == math.inf
    for other in ([], [outputs, outputs], [outputs[:1]], [outputs[..., None]]):
        assert prover.difference(other) == math.inf


def test_whole_numbers_differ_or_do_not(proof):
    prover, _ = proof
    prover.reference = [torch.tensor([1, 2]), torch.zeros(3, dtype=torch.float64)]
    zeros = torch.zeros(3, dtype=torch.float64)
    assert prover.difference([torch.tensor([1, 2]), zeros]) == 0
    assert prover.difference([torch.tensor([1, 3]), zeros]) == math.inf
    assert prover.difference([torch.tensor([1, 2]), zeros + 1e-6]) == pytest.approx(1e-6)
