"""Training: the stacked program equals the plain loop for every arm; what arms do; bad input."""

import functools
import inspect
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD

import syre_helpers as sh
from small_training import (
    ARMS,
    FEW,
    OPTIMIZERS,
    SETTINGS,
    SWAP,
    assert_same,
    data,
    made,
    make_dropout,
    make_model,
    part,
    run,
    run_one,
)
from syre_helpers import arms
from syre_helpers.training import evaluation


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_many_equals_one_by_one_for_every_arm(name, coupled):
    norm = {"norm": lambda p, predict: p["0.weight"].norm()}
    changes = {"optimizer": OPTIMIZERS[name], "coupled": coupled, "measures": norm}
    compared = ARMS if name in ("momentum", "adam") else FEW
    many = run(arms=compared, **changes)
    assert len(many[0]) == len(compared) * 2 * 4
    finals = []
    for arm in compared:
        for seed in range(2):
            one = run_one(arm, seed, **changes)
            assert_same(one, part(many, arm, seed), 1e-11)
            finals.append(one[0].norm.iloc[-1])
    assert len(set(finals)) == len(finals), "two arms or seeds did the same: one has no effect"


def test_tables_have_the_settings_of_the_arms_as_columns():
    table = sh.fit_many(make_model, data(), [ARMS[0], ARMS[2], ARMS[5]], [0], **SETTINGS)
    assert type(table) is pd.DataFrame
    first = table[table.step == 0].set_index("arm")
    assert first.index.tolist() == ["vanilla", "syre 30%", "W-fix 30%"]
    assert first.method.tolist() == ["vanilla", "syre", "W-fix"]
    assert first.weight_decay.isna().tolist() == [True, False, False]
    assert first.sigma_ratio.dropna().tolist() == [0.3]
    assert "variant" not in table
    decays = [arms.plain_decay(0.1), arms.plain_decay(0.2), arms.vanilla(variant="again")]
    table, params = run(arms=decays, seeds=[np.int64(3)])
    assert set(params) == {(arm, 3) for arm in decays}, "labels may coincide"
    assert set(table.variant) == {"", "again"}


def test_both_doors_say_what_they_take_and_return():
    one, other = (inspect.signature(f) for f in (sh.fit_many, sh.train_many))
    assert one.parameters == other.parameters
    assert one.return_annotation == "pd.DataFrame"
    assert "params[arm, seed]" in sh.train_many.__doc__
    assert "params[arm, seed]" not in sh.fit_many.__doc__
    for name in one.parameters:
        assert f"    {name} : " in sh.fit_many.__doc__


@pytest.mark.parametrize(
    ("coupled", "make", "arm", "syre"),
    [
        (True, functools.partial(SGD, lr=0.05, momentum=0.9), arms.plain_decay(0.3), None),
        (False, functools.partial(torch.optim.AdamW, lr=0.01), arms.plain_decay(0.3), None),
        (False, functools.partial(SGD, lr=0.05, momentum=0.9), arms.syre(0.5, 0.4, sigma_D=0.2),
         sh.Syre(0.5, 0.4, sigma_D=0.2, seed=6)),
    ],
    ids=["decay of SGD", "decay of AdamW", "syre attached"],
)  # fmt: skip
def test_the_pull_is_that_of_an_ordinary_loop(coupled, make, arm, syre):
    model, twin = made(3), made(3)
    x, y, *_ = data()
    sh.fit(
        model, (x, y), arm, seed=6, coupled=coupled, steps=20, loss=functional.cross_entropy,
        optimizer=functools.partial(make, weight_decay=0),
    )  # fmt: skip
    optimizer = make(twin.parameters(), weight_decay=0 if syre else 0.3)
    if syre:
        syre.attach(optimizer, twin)
    for _ in range(20):
        optimizer.zero_grad()
        functional.cross_entropy(twin(x), y).backward()
        optimizer.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert (p - q).abs().max() < 1e-13


def test_frozen_weights_of_w_fix_stay_and_biases_and_norms_train_on():
    arm, changes = arms.weight_fix(0.25, 0.1, kappa=3.0), {"steps": 5, "log_every": None}
    wide = nn.Sequential(nn.Linear(4, 200), nn.LayerNorm(200), nn.Tanh(), nn.Linear(200, 3))
    _, trained = run(make_model=lambda: wide, arms=[arm], seeds=[0], **changes)
    start = {n: torch.zeros_like(p) for n, p in trained[arm, 0].items()}
    given, mask = arm.start(start, 0), arm.pull(start, 0, 0).mask
    assert set(mask) == {"0.weight", "3.weight"}
    for name, p in trained[arm, 0].items():
        moved = p != (given[name] if name in mask else dict(wide.named_parameters())[name])
        assert torch.equal(moved, mask[name] == 1 if name in mask else torch.ones_like(moved))


def test_finish_changes_the_last_measurement_only():
    pair = [arms.plain_decay(0.1), arms.bias_added_after(0.1, 0.5)]
    many = run(arms=pair, log_every=1)
    for outcomes in (
        [part(many, arm, 1) for arm in pair],
        [run_one(arm, log_every=1) for arm in pair],
    ):
        decay, after = (table.train_loss.to_numpy() for table, _ in outcomes)
        assert (decay[:-1] == after[:-1]).all()
        assert decay[-1] != after[-1]
        first, second = (params[arm, 1] for arm, (_, params) in zip(pair, outcomes, strict=True))
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_symmetric_bias_has_the_norm_of_syres_and_is_symmetric():
    params = {n: p.detach() for n, p in made(0).named_parameters()}
    bias = arms.symmetric_bias(0.1, SWAP.nearest, 0.3).pull(params, 4, 0).centre
    free = arms.syre(0.1, 0.3).pull(params, 4, 0).centre
    norms = [sum(float(p.square().sum()) for p in b.values()) for b in (bias, free)]
    assert norms[0] == pytest.approx(norms[1])
    assert SWAP.distance(bias) == 0 < SWAP.distance(free)


def test_resampled_bias_is_fresh_and_reproducible():
    arm = arms.resampled_bias(0.1, 0.3)
    params = {n: p.detach() for n, p in made(0).named_parameters()}
    one, two, again = (arm.pull(params, 0, step).centre["0.weight"] for step in (1, 2, 1))
    assert not torch.equal(one, two)
    assert torch.equal(one, again)


def test_noise_of_arms_is_of_the_stated_size():
    params = {"0.weight": torch.zeros(100, 400)}
    for change in (arms.perturbed_once(0.1, 0.2).start, arms.bias_added_after(0.1, 0.2).finish):
        assert change(params, 3)["0.weight"].std() == pytest.approx(0.2 / 20, rel=0.02)


def test_models_without_input_and_data_that_change():
    targets = {0: torch.zeros(3, 3), 1: torch.eye(3)}
    table, _ = run(
        make_model=lambda: sh.models.MatrixFactorisation(3, 3, 2),
        data=lambda step: (None, targets[step >= 50]), arms=[arms.vanilla()], steps=52,
        loss=functional.mse_loss, optimizer=lambda p: SGD(p, lr=0.5), log_every=1, batch_size=None,
        schedule=None,
    )  # fmt: skip
    loss = table[table.seed == 0].set_index("step").train_loss
    assert loss[50] < loss[0]  # learned zero
    assert loss[51] > 0.1 > loss[50]  # the target of step 50 is measured after that step


def test_the_same_call_gives_the_same_and_leaves_the_global_generator_alone():
    state = torch.random.get_rng_state()
    assert_same(run(arms=ARMS), run(arms=ARMS))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_results_do_not_depend_on_company(monkeypatch):
    together = run(arms=ARMS)
    assert_same(run(arms=[FEW[0]], seeds=[1]), part(run(), FEW[0], 1), 1e-12)
    monkeypatch.setattr(evaluation, "_SAMPLES_AT_ONCE", 100)  # evaluated a few at a time
    assert_same(together, run(arms=ARMS), 1e-12)


@pytest.mark.parametrize("coupled", [True, False])
def test_a_schedule_scales_every_step(coupled):
    """One step at a quarter of the rate, among steps at rate 0, is one step at that rate."""
    arm = arms.syre(0.05, 0.3)
    sgd = {"coupled": coupled, "log_every": None, "batch_size": None}
    sgd["optimizer"] = lambda p: SGD(p, lr=0.2)
    falling = sgd | {"steps": 5, "schedule": lambda step: 0.25 if step == 1 else 0.0}
    slow = sgd | {"steps": 1, "optimizer": lambda p: SGD(p, lr=0.05), "schedule": None}
    expected = run_one(arm, **slow)[1][arm, 1]
    for found in (run_one(arm, **falling)[1], run(arms=[arm], **falling)[1]):
        for name, p in expected.items():
            torch.testing.assert_close(found[arm, 1][name], p, rtol=0, atol=1e-12)


# ---- models of other kinds -------------------------------------------------------------------


def test_frozen_parameters_stay_frozen():
    def half_frozen():
        model = make_model()
        model[0].requires_grad_(False)
        return model

    compared = [*FEW, arms.weight_fix(0.3, 0.05)]
    many = run(make_model=half_frozen, arms=compared)
    for arm in compared:
        one = run_one(arm, make=half_frozen)
        assert torch.equal(one[1][arm, 1]["0.weight"], made(1)[0].weight)
        assert_same(one, part(many, arm, 1), 1e-11)


class Positions(nn.Module):
    """A model with a table that training never changes, drawn with the model."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.randn(4))
        self.register_buffer("mask", torch.tensor([0.0, 0.0, 0.0, -math.inf]))
        self.inner = make_model()

    def forward(self, x):
        return self.inner((x + self.table) * self.mask.exp())


def test_constant_buffers_are_stacked():
    many = run(make_model=lambda: Positions().double(), arms=FEW[:1])
    one = run_one(make=lambda: Positions().double())
    assert_same(one, part(many, FEW[0], 1), 1e-11)
    assert "table" not in many[1][FEW[0], 1]


def test_measured_in_evaluation_mode():
    twice = {"apart": lambda p, predict: (predict(data()[0]) - predict(data()[0])).abs().max()}
    many = run(make_model=make_dropout, measures=twice)[0]
    assert (many.apart == 0).all()
    one = run_one(make=make_dropout, measures=twice)[0]
    same = many[(many.arm == FEW[0].label) & (many.seed == 1)]
    assert one.train_loss[0] == pytest.approx(same.train_loss.iloc[0]), "the same weights"
    assert one.train_loss.iloc[-1] != same.train_loss.iloc[-1], "other draws"


def test_fit_trains_models_with_running_statistics():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    table = sh.fit(model, data(), arms.syre(1e-3), **(SETTINGS | {"steps": 60}))
    assert table.train_loss.iloc[-1] < 0.5 * table.train_loss.iloc[0]
    assert model[1].num_batches_tracked == 60


def test_a_model_that_diverges_costs_its_own_rows_only():
    bad, good = arms.plain_decay(1e9), arms.plain_decay(0.05)
    rank = {"rank": lambda p, predict: sh.effective_rank(p["0.weight"])}
    alone = run(arms=[good], steps=200, log_every=50, measures=rank)
    with pytest.warns(RuntimeWarning, match=r"by step 50: plain decay, seed 0; plain decay, se"):
        both = run(arms=[good, bad], steps=200, log_every=50, measures=rank)
    sound = both[0].weight_decay == 0.05
    assert_same((both[0][sound].reset_index(drop=True), alone[1]), alone, 1e-11)
    late = both[0][~sound & (both[0].step > 0)]
    assert late["rank"].isna().all()
    assert not np.isfinite(late.train_loss).any()
    with pytest.warns(RuntimeWarning, match=r"by step 50: plain decay, seed 1\. "):
        one = run_one(bad, steps=200, log_every=50, measures=rank)[0]
    assert one["rank"].isna().tolist() == [False, True, True, True, True]


# ---- input -----------------------------------------------------------------------------------

x, y, *_ = data()


def test_numbers_and_labels_of_other_kinds_are_numbers():
    changes = {"steps": np.int64(20), "batch_size": np.int32(8), "log_every": np.int64(7)}
    narrow = tuple(t.int() if t.dtype == torch.int64 else t.float() for t in data())
    wide = tuple(t.double() if t.is_floating_point() else t for t in narrow)
    assert_same(run(data=narrow, **changes), run(data=wide))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"steps": 0}, ValueError, "steps: 0 must"),
        ({"steps": 2.5}, ValueError, "steps: 2.5 must be a whole"),
        ({"log_every": 0}, ValueError, "log_every: 0 must"),
        ({"log_every": [25]}, ValueError, "log_every holds [25]"),
        ({"seeds": []}, ValueError, "seeds"),
        ({"seeds": [1, 1]}, ValueError, "seeds"),
        ({"seeds": [0.5]}, TypeError, "seeds must be an int, got 0.5"),
        ({"arms": []}, ValueError, "arms"),
        ({"arms": [arms.vanilla(), arms.vanilla()]}, ValueError, "arms must be at least one, all"),
        ({"arms": [arms.vanilla]}, TypeError, "vanilla()"),
        ({"data": (x[:0], y[:0])}, ValueError, "empty"),
        ({"data": (x, y[:5])}, ValueError, "32 samples and y has 5"),
        ({"data": (x / 0, y)}, ValueError, "NaN or infinite"),
        ({"data": (x, None)}, ValueError, "y is None"),
        ({"data": (x,)}, ValueError, "data must be"),
        ({"data": (x.numpy(), y)}, TypeError, "torch.as_tensor(x)"),
        ({"data": (x, y.tolist())}, TypeError, "torch.as_tensor(y)"),
        ({"data": torch.utils.data.TensorDataset(x, y)}, TypeError, "data is a TensorDataset"),
        ({"data": torch.utils.data.DataLoader([1])}, TypeError, "data is a DataLoader; pass"),
        ({"data": lambda step: x, "batch_size": None}, TypeError, "data(0) must return a pair"),
        ({"batch_size": 0}, ValueError, "batch_size: 0 must"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every: 0 must"),
        ({"batch_size": 33}, ValueError, "batch_size=33"),
        ({"data": lambda step: (x, y), "batch_size": 4}, ValueError, "batch_size"),
        ({"make_model": lambda: 3}, TypeError, "make_model"),
        ({"make_model": lambda: nn.BatchNorm1d(4)}, ValueError, "running_mean"),
        ({"make_model": lambda: made(0).requires_grad_(False)}, ValueError, "can be trained"),
        ({"optimizer": lambda p: SGD(p, weight_decay=0.1)}, ValueError, "_decay=0.1"),
        ({"optimizer": lambda p: torch.optim.LBFGS(p)}, ValueError, "LBFGS"),
        ({"optimizer": 0.1}, TypeError, "optimizer=0.1"),
        ({"loss": None}, TypeError, "loss=None"),
        ({"loss": lambda output, y: output}, ValueError, "loss returned shape ("),
        ({"schedule": lambda step: float("nan")}, ValueError, "schedule(0) is nan"),
        ({"coupled": "no"}, TypeError, "coupled='no'"),
        ({"measures": {"step": len}}, ValueError, "['step'] are columns"),
        ({"measures": {"method": len}}, ValueError, "['method'] are columns"),
        ({"callbacks": [3]}, TypeError, "callbacks[0]=3"),
        ({"callbacks": print}, TypeError, "callbacks"),
        ({"measures": [len]}, TypeError, "measures"),
        ({"seeds": 3}, TypeError, "seeds=3 must be several"),
        ({"arms": arms.vanilla()}, TypeError, "arms=vanilla(variant='') must be several"),
    ],
)  # fmt: skip
def test_bad_input_is_named(change, error, words):
    with pytest.raises(error) as caught:
        run(**change)
    assert words in str(caught.value)
    if change.keys() & {"arms", "seeds", "make_model", "batch_size"} == set():
        with pytest.raises(error) as caught:
            run_one(**change)
        assert words in str(caught.value)


def test_what_cannot_be_trained_is_named():
    for model in (nn.Tanh(), made(0).requires_grad_(False)):
        with pytest.raises(ValueError, match="no parameters"):
            sh.fit(model, data(), **SETTINGS)
    with pytest.raises(TypeError, match=r"an nn\.Module, got dict"):
        sh.fit({"0.weight": torch.ones(2)}, data(), **SETTINGS)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: arms.plain_decay(-1), "weight_decay=-1"),
        (lambda: arms.syre(0.1, -0.1), "sigma_ratio=-0.1"),
        (lambda: arms.weight_fix(1.5), "fraction=1.5"),
        (lambda: arms.shrink_and_perturb(2, 0.1, 5), "shrink=2"),
        (lambda: arms.shrink_and_perturb(0.5, 0.1, 0), "every"),
        (lambda: arms.perturbed_once(0.1, float("nan")), "sigma_ratio=nan"),
    ],
)
def test_bad_arms_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
