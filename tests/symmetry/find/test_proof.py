"""The proof by evaluation: nothing false passes, wherever it stands, and NaN is no equality."""

import math
from dataclasses import replace

import pytest
import torch

from syre_helpers.symmetry.find import rules
from syre_helpers.symmetry.find.candidates import candidates
from syre_helpers.symmetry.find.engine import structure
from syre_helpers.symmetry.find.graph import record
from syre_helpers.symmetry.find.layout import layout
from syre_helpers.symmetry.find.network import Network
from syre_helpers.symmetry.find.proof import Prover

from . import zoo


@pytest.fixture
def proof():
    """Return a prover of a ReLU network with three layers, and the true families of its units."""
    model = zoo.mlp(4, 5, 6, 3).eval()
    network = Network(model, torch.ones(2, 4).mul(torch.tensor([[1.0], [-0.5]])), None, None, 0)
    network.prepare()
    graph = record(model, network.call, network.state, network.moving, network.inputs)
    known = structure(graph, rules.elementwise)
    return Prover(network, 1e-10), candidates(known, layout(graph, known))


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
