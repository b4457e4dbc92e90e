"""The heads of a GPT: what the arms act on, where they start, and what a used rank is."""

import functools

import pandas as pd
import pytest
import torch
from torch.func import functional_call

from small_models import seeded
from syre_helpers import arms, models
from syre_helpers.experiments import _attention, _heads, transformers

CONFIG = transformers.Config(dim=8, context=8, n_test=6, steps=5, warm_up=1, seeds=2, batch_size=4)


@pytest.fixture(scope="module")
def trained():
    """Return the table and the trained parameters of a run of five steps."""
    return transformers.train(CONFIG)


@pytest.fixture
def params():
    model = seeded(functools.partial(transformers.model_of, CONFIG))
    return {name: p.detach() for name, p in model.named_parameters()}


def is_attention(name):
    return "attention" in name.split(".")


@pytest.mark.parametrize(
    "arm", [arms.plain_decay(2.0), arms.syre(2.0, 0.3), arms.syre(2.0, 0.6, sigma_D=0.5)]
)
def test_arms_pull_attention_as_they_pull_all_and_nothing_else(arm, params):
    whole, own = arm.pull(params, 1), _attention.on_attention(arm).pull(params, 1)
    for name, p in params.items():
        force = own.force(name, p)
        if is_attention(name):
            assert torch.equal(force, whole.force(name, p))
            assert force.abs().max() > 0
        else:
            assert not force.any()


def test_kicks_and_biases_after_training_are_on_attention_alone(params):
    for arm, change in (
        (arms.perturbed_once(1.0, 0.5), "start"),
        (arms.bias_added_after(1.0, 0.5), "finish"),
    ):
        whole = getattr(arm, change)(params, 1)
        changed = getattr(_attention.on_attention(arm), change)(params, 1)
        for name, p in params.items():
            assert torch.equal(changed[name], whole[name] if is_attention(name) else p)
        assert any(not torch.equal(changed[name], p) for name, p in params.items())


def test_only_what_is_on_the_planes_stays_there(trained):
    """Two factors at zero stay there to the last bit; one factor at zero leaves at once."""
    _, states = trained
    for (arm, _), state in states.items():
        parts = {
            part: max(
                float(state[n].abs().max()) for n in state if n.endswith(f"attention.{part}.weight")
            )
            for part in ("query", "key", "value", "out")
        }
        if arm.variant == "no queries, keys":
            stays = arm.method == "plain decay"
            assert (parts["query"] == 0) == (parts["key"] == 0) == stays, arm
        else:
            assert min(parts.values()) > 0, arm


def test_the_controls_are_plain_decay_with_the_bias_of_each_strength(trained):
    table, states = trained
    controls = transformers.controls(CONFIG)
    assert len(controls) == 4
    plain = _attention.on_attention(arms.plain_decay(10.0))
    for control in controls:
        same = {"sigma_ratio": control.arm.sigma_ratio, "sigma_0": control.arm.sigma_0}
        syre = arms.syre(10.0, **{k: v for k, v in same.items() if v is not None})
        for seed in range(2):
            theta_0 = syre.pull(states[plain, seed], seed).centre
            for name, p in states[plain, seed].items():
                wanted = p + theta_0[name] if is_attention(name) else p
                assert torch.equal(states[control, seed][name], wanted)
    added = table[table.method == "bias added after"]
    assert len(added) == 8
    assert (added.weight_decay == 10).all()


def test_the_table_has_the_losses_of_the_cut_networks(trained):
    table, states = trained
    arm = _attention.on_attention(arms.vanilla())
    row = table[(table.method == "vanilla") & (table.seed == 1)].iloc[0]
    split, model = transformers.load(CONFIG), transformers.model_of(CONFIG)

    def loss(values):
        output = functional_call(model, values, (split.x_test,))
        return float(
            torch.nn.functional.cross_entropy(output.transpose(1, 2), split.y_test).detach()
        )

    whole = states[arm, 1]
    assert row.test_loss == pytest.approx(loss(whole), abs=1e-5)
    for rank in (0, 1, 2):
        cut = models.with_heads_cut(whole, 2, "value-output", rank)
        assert row[f"vo_cost_{rank}"] == pytest.approx(loss(cut) - loss(whole), abs=1e-5)
    assert not table.isna().loc[:, "test_loss":].any().any()


@pytest.mark.parametrize(
    ("costs", "rank"),
    [
        ({0: 0.001, 1: 0.0}, 0),
        ({0: 0.5, 1: 0.2, 2: 0.0001, 4: 0.0}, 2),
        ({0: 0.5, 1: 0.0, 2: 0.02, 4: 0.0}, 4),
        ({0: 0.5, 1: 0.3, 2: 0.02}, 16),
        ({0: 0.5, 1: -0.3, 2: -0.1}, 1),
        ({0: float("nan"), 1: float("nan")}, 16),
    ],
)
def test_the_used_rank_is_the_least_from_which_on_no_cut_costs(costs, rank):
    assert _heads.used_rank(costs, 16) == rank


def test_a_product_of_planted_rank_uses_no_more_than_that(params):
    params = models.with_heads_cut(params, 2, "query-key", 2)

    def loss(values):
        products = models.head_products(values, 2, "query-key")
        return float((products - models.head_products(params, 2, "query-key")).square().sum() * 1e4)

    found = _heads.worth_of_heads(params, 2, (1, 2), loss)
    assert found["qk_used_rank"] == 2
    assert found["qk_effective_rank"] <= 2 + 1e-6
    assert found["vo_used_rank"] == 0, "a loss that does not depend on them"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decays": (10.0, 1.0)}, "a lesser one and a greater one"),
        ({"decays": (0.0, 1.0)}, "decays"),
        ({"cuts": (2, 1)}, "rising order from 1"),
        ({"cuts": (2, 4)}, "rising order from 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        transformers.Config(**changes)


def test_the_strength_that_is_compared_with_less_decay_is_the_best():
    from syre_helpers.experiments._transformer_claims import CLAIMS

    rows = [{"method": "plain decay", "weight_decay": 1.0, "test_loss": 2.0}]
    rows.append({"method": "plain decay", "weight_decay": 10.0, "test_loss": 9.0})
    strengths = ({"sigma_ratio": 0.1}, {"sigma_ratio": 1.0}, {"sigma_0": 0.01}, {"sigma_0": 0.1})
    for loss, strength in zip((2.5, 2.2, 3.0, 2.3), strengths, strict=True):
        rows.append({"method": "syre", "weight_decay": 10.0, "test_loss": loss} | strength)
    frame = pd.DataFrame(rows).assign(arm=range(6), variant="", step=5)
    table = pd.concat([frame.assign(seed=seed) for seed in (0, 1)])
    (claim,) = [one for one in CLAIMS if one.text.startswith("Less decay is better")]
    assert claim.values(table).tolist() == pytest.approx([0.2, 0.2])
