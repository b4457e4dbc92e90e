"""Growing by copying: what each way to grow computes, what stays tied, what phases pass on."""

import dataclasses

import pandas as pd
import pytest
import torch
from torch.func import functional_call

from syre_helpers.experiments import _growth, growing
from syre_helpers.models import mlp
from syre_helpers.removal import arms

WAYS = ("copies", "noisy copies", "fresh units", "from scratch")


def networks(small=3, width=12, d=4):
    torch.manual_seed(0)
    models = [mlp([d, n, 1], "relu").double() for n in (small, width)]
    return *(dict(model.named_parameters()) for model in models), models


@pytest.mark.parametrize("how", WAYS)
def test_all_ways_but_one_compute_what_the_small_network_computes(how):
    small, wide, (narrow, model) = networks()
    x = torch.randn(20, 4, dtype=torch.float64)
    grown = _growth.grow(small, wide, how, seed=0)
    assert {n: p.shape for n, p in grown.items()} == {n: p.shape for n, p in wide.items()}
    same = torch.allclose(functional_call(model, grown, (x,)), narrow(x), rtol=0, atol=1e-14)
    assert same == (how != "from scratch")


def test_copies_are_twins_and_the_others_are_not():
    small, wide, _ = networks()
    shares = {
        how: growing._measured("grown", _growth.grow(small, wide, how, 0), DATA)["grown_distinct"]
        for how in WAYS
    }
    assert shares == {"copies": 0.25, "noisy copies": 1, "fresh units": 1, "from scratch": 1}


DATA = growing.data_of(growing.Config(d=4, samples=20), 0, 0)


def test_noise_on_outgoing_weights_sums_to_zero_and_belongs_to_the_seed():
    small, wide, _ = networks()
    plain, noisy, other = (
        _growth.grow(small, wide, how, seed)["2.weight"]
        for how, seed in (("copies", 0), ("noisy copies", 0), ("noisy copies", 1))
    )
    assert torch.allclose(noisy.reshape(4, 3).sum(0), plain.reshape(4, 3).sum(0))
    assert (noisy - plain).std() > 0.3 * plain.square().mean().sqrt()
    assert not torch.allclose(noisy, other)


def test_the_first_and_the_second_teacher_differ_and_belong_to_the_seed():
    config = growing.Config()
    first, second, other = (growing.data_of(config, *who) for who in ((0, 0), (0, 1), (1, 0)))
    assert not torch.equal(first.x_train, second.x_train)
    assert not torch.equal(first.x_train, other.x_train)
    assert torch.equal(first.y_train, growing.data_of(config, 0, 0).y_train)


def test_copies_stay_twins_and_every_arm_starts_where_its_own_phase_before_ended(small):
    config = small("growing", seeds=1)
    table = growing.run(config).set_index("arm")
    assert (table.small_loss == table.small_loss.iloc[0]).all()
    plain = table.loc["plain decay"]
    assert plain.grown_distinct == plain.shrunk_distinct == plain.new_distinct == 0.25
    assert table.loc["plain decay, drawn anew for new data"].shrunk_loss == plain.shrunk_loss
    assert table.loc["plain decay, drawn anew for new data"].new_distinct == 1
    once, again = (table.loc[f"perturbed once 100%{w}"] for w in ("", ", again for new data"))
    assert once.shrunk_loss == again.shrunk_loss
    assert once.new_loss != again.new_loss
    assert (table.filter(like="syre", axis=0).grown_distinct == 1).all()


def test_a_kick_is_given_once_or_twice_and_theta_0_stays():
    kick, remedy = arms.perturbed_once(0.01, 1.0), arms.syre(0.01, 1.0)
    small, state, _ = networks()
    assert _growth.Grown(kick).growing_from(small).arm == kick
    assert _growth.Grown(kick).shrinking(state, 10).arm == arms.plain_decay(0.1)
    assert _growth.Grown(kick).on_new_data(state).arm == arms.plain_decay(0.01)
    assert _growth.Grown(kick, anew="kicked").on_new_data(state).arm == kick
    under = _growth.Grown(remedy).shrinking(state, 10).arm, remedy
    assert [arm.weight_decay for arm in under] == [0.1, 0.01]
    stronger, usual = (arm.pull(state, 3).centre for arm in under)
    assert all(torch.equal(stronger[name], p) for name, p in usual.items())


def test_a_seed_alone_gives_the_rows_that_it_has_among_others(small):
    config = small("growing")
    both = growing.run(config)
    alone = growing.run(dataclasses.replace(config, seeds=(1,)))
    of_seed = both[both.seed == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_seed, alone, check_exact=True)
