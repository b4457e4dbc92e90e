"""Training: the stacked program equals the plain loop for every arm; runs resume."""

import math

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

import syre_helpers as sh
from syre_helpers import arms
from syre_helpers.removal import theta_0 as noise
from syre_helpers.training import evaluation, stepping
from syre_helpers.training.batches import BatchOrder


def make_model():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1)).double()


def made(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make_model()


def data(samples=48):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 4, generator=generator, dtype=torch.float64)
    y = torch.sin(x.sum(1, keepdim=True))
    return x[:32], y[:32], x[32:], y[32:]


SWAP = sh.permutation_reflection(make_model(), "0", 0, 1)
ARMS = [
    arms.vanilla(),
    arms.plain_decay(0.05),
    arms.syre(0.05, 0.3),
    arms.syre(0.05, 0.3, sigma_D=0.2),
    arms.metric_only(0.05, 0.2),
    arms.weight_fix(0.3, 0.05),
    arms.pull_to_start(0.05),
    arms.shrink_and_perturb(0.2, 0.1, 7, 0.05),
    arms.perturbed_once(0.05, 0.3),
    arms.resampled_bias(0.05, 0.3, every=3),
    arms.symmetric_bias(0.05, SWAP.nearest, 0.3),
    arms.bias_added_after(0.05, 0.3),
]
OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
}
SETTINGS = {"steps": 23, "loss": functional.mse_loss, "batch_size": 8, "log_every": 5}


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_many_equals_one_by_one_for_every_arm(name, coupled):
    settings = SETTINGS | {"optimizer": OPTIMIZERS[name], "coupled": coupled}
    norm = {"norm": lambda p, predict: torch.stack([v.norm() for v in p.values()]).norm()}
    many = sh.fit_many(make_model, data(), ARMS, range(2), measures=norm, **settings)
    assert len(many) == len(ARMS) * 2 * 6
    finals = []
    for arm in ARMS:
        for seed in range(2):
            one = sh.fit(made(seed), data(), arm, seed=seed, measures=norm, **settings)
            same = many[(many.arm == arm.name) & (many.seed == seed)].reset_index(drop=True)
            pd.testing.assert_frame_equal(one, same, rtol=1e-12, check_dtype=False)
            finals.append(one.norm.iloc[-1])
    assert len(set(finals)) == len(finals), "two arms or seeds did the same: one has no effect"


def test_the_pull_is_that_of_syre_attached():
    """`fit` with a decoupled arm equals an ordinary loop with ``Syre.attach``."""
    model, twin = made(3), made(3)
    x, y, *_ = data()
    sgd = OPTIMIZERS["momentum"]
    sh.fit(
        model, (x, y), arms.syre(0.5, 0.4, sigma_D=0.2), seed=6, coupled=False,
        steps=20, loss=functional.mse_loss, optimizer=sgd,
    )  # fmt: skip
    optimizer = sgd(list(twin.parameters()))
    sh.Syre(0.5, 0.4, sigma_D=0.2, seed=6).attach(optimizer, twin)
    for _ in range(20):
        optimizer.zero_grad()
        functional.mse_loss(twin(x), y).backward()
        optimizer.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert (p - q).abs().max() < 1e-13


def test_plain_decay_equals_the_optimizers_own():
    x, y, *_ = data()
    for coupled, make in (
        (True, lambda p, wd: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=wd)),
        (False, lambda p, wd: torch.optim.AdamW(p, lr=0.01, weight_decay=wd)),
    ):
        model, twin = made(3), made(3)
        sh.fit(
            model, (x, y), arms.plain_decay(0.3), coupled=coupled, steps=20,
            loss=functional.mse_loss, optimizer=lambda p, make=make: make(p, 0),
        )  # fmt: skip
        optimizer = make(list(twin.parameters()), 0.3)
        for _ in range(20):
            optimizer.zero_grad()
            functional.mse_loss(twin(x), y).backward()
            optimizer.step()
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            assert (p - q).abs().max() < 1e-13


def test_frozen_weights_stay_and_are_random():
    share = 0.3
    _, trained = sh.fit_many(
        lambda: nn.Sequential(nn.Linear(4, 200), nn.ReLU(), nn.Linear(200, 1)),
        data(),
        [arms.weight_fix(share, 0.1), arms.vanilla()],
        [0],
        steps=5,
        loss=functional.mse_loss,
        optimizer=OPTIMIZERS["momentum"],
        return_params=True,
    )
    arm = arms.weight_fix(share, 0.1)
    start = {n: torch.zeros_like(p) for n, p in trained["W-fix", 0].items()}
    frozen = arm.pull(start, 0, 0).mask["0.weight"] == 0
    values = arm.start(start, 0)["0.weight"][frozen]
    assert frozen.double().mean() == pytest.approx(share, abs=0.05)
    assert torch.equal(trained["W-fix", 0]["0.weight"][frozen], values)
    assert values.std() == pytest.approx(0.5, rel=0.15)  # 1 / sqrt(fan_in) = 1 / sqrt(4)
    # Dead zeros are woken up: the frozen values are written at the start.
    assert (values != 0).all()


def test_bias_added_after_changes_the_last_measurement_only():
    run = {"steps": 4, "loss": functional.mse_loss, "optimizer": OPTIMIZERS["momentum"]}
    pair = [arms.plain_decay(0.1), arms.bias_added_after(0.1, 0.5)]
    table, trained = sh.fit_many(
        make_model, data(), pair, [0], log_every=1, return_params=True, **run
    )
    decay, after = (table[table.arm == arm.name].train_loss.to_numpy() for arm in pair)
    assert (decay[:-1] == after[:-1]).all()
    assert decay[-1] != after[-1]
    for name, p in trained["plain decay", 0].items():
        assert torch.equal(p, trained["bias added after", 0][name])


def test_symmetric_bias_has_the_norm_of_syres_and_is_symmetric():
    params = {n: p.detach() for n, p in made(0).named_parameters()}
    bias = arms.symmetric_bias(0.1, SWAP.nearest, 0.3).pull(params, 4, 0).centre
    free = arms.syre(0.1, 0.3).pull(params, 4, 0).centre
    norms = [math.sqrt(sum(float(p.square().sum()) for p in b.values())) for b in (bias, free)]
    assert norms[0] == pytest.approx(norms[1])
    assert SWAP.distance(bias) == 0 < SWAP.distance(free)


def test_resampled_bias_is_fresh_and_reproducible():
    arm = arms.resampled_bias(0.1, 0.3)
    params = {n: p.detach() for n, p in made(0).named_parameters()}
    one, two = arm.pull(params, 0, 1).centre, arm.pull(params, 0, 2).centre
    assert not torch.equal(one["0.weight"], two["0.weight"])
    assert torch.equal(one["0.weight"], arm.pull(params, 0, 1).centre["0.weight"])


def test_models_without_input_and_data_that_change():
    targets = {0: torch.zeros(3, 3), 1: torch.eye(3)}
    table = sh.fit_many(
        lambda: sh.models.MatrixFactorisation(3, 3, 2),
        lambda step: (None, targets[step >= 50]),
        [arms.vanilla()],
        range(2),
        steps=52,
        loss=functional.mse_loss,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.5),
        log_every=1,
    )
    loss = table[table.seed == 0].set_index("step").train_loss
    assert loss[50] < loss[0]  # learned zero
    assert loss[51] > 10 * loss[50]  # the target of step 50 is measured after that step


def test_the_global_random_state_is_left_alone():
    state = torch.random.get_rng_state()
    sh.fit_many(make_model, data(), ARMS, range(2), optimizer=OPTIMIZERS["adam"], **SETTINGS)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_same_call_gives_the_same_table():
    runs = [
        sh.fit_many(make_model, data(), ARMS, [3], optimizer=OPTIMIZERS["adam"], **SETTINGS)
        for _ in range(2)
    ]
    pd.testing.assert_frame_equal(*runs, check_exact=True)


def test_results_do_not_depend_on_company():
    alone = sh.fit_many(
        make_model, data(), ARMS[2:3], [1], optimizer=OPTIMIZERS["adam"], **SETTINGS
    )
    many = sh.fit_many(make_model, data(), ARMS, range(3), optimizer=OPTIMIZERS["adam"], **SETTINGS)
    same = many[(many.arm == "syre") & (many.seed == 1)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same, rtol=1e-12)


@pytest.mark.parametrize("arm", ARMS, ids=[arm.name for arm in ARMS])
def test_an_interrupted_run_resumes(tmp_path, arm):
    settings = SETTINGS | {"optimizer": OPTIMIZERS["adam"], "seed": 5}
    whole_model, model = made(5), made(5)
    whole = sh.fit(whole_model, data(), arm, **settings)
    file = tmp_path / "run.pt"

    def interrupted(step):
        if step == 17:
            raise KeyboardInterrupt
        return step

    class Interrupt(nn.Module):
        """Stops the run in mid-step, as a killed process would."""

        count = 0

        def forward(self, output, target):
            Interrupt.count += output.requires_grad
            interrupted(Interrupt.count)
            return functional.mse_loss(output, target)

    with pytest.raises(KeyboardInterrupt):
        sh.fit(model, data(), arm, checkpoint=file, checkpoint_every=6,
               **(settings | {"loss": Interrupt()}))  # fmt: skip
    resumed_model = made(99)
    resumed = sh.fit(resumed_model, data(), arm, checkpoint=file, checkpoint_every=6, **settings)
    pd.testing.assert_frame_equal(whole, resumed, check_exact=True)
    for p, q in zip(whole_model.parameters(), resumed_model.parameters(), strict=True):
        assert torch.equal(p, q)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.pt"]
    again = sh.fit(made(1), data(), arm, checkpoint=file, **settings)
    pd.testing.assert_frame_equal(whole, again, check_exact=True)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    settings = SETTINGS | {"optimizer": OPTIMIZERS["adam"], "checkpoint": tmp_path / "run.pt"}
    sh.fit(made(0), data(), arms.plain_decay(0.1), **settings)
    with pytest.raises(ValueError, match=r"run\.pt.*another run"):
        sh.fit(made(0), data(), arms.syre(0.1), **settings)
    with pytest.raises(ValueError, match=r"run\.pt.*another run"):
        sh.fit_many(make_model, data(), ARMS, [0], **settings)


def test_an_interrupted_comparison_resumes(tmp_path, monkeypatch):
    settings = SETTINGS | {"optimizer": OPTIMIZERS["momentum"], "return_params": True}
    whole, params = sh.fit_many(make_model, data(), ARMS, [3, 4], **settings)
    kept = settings | {"checkpoint": tmp_path / "new" / "run.pt", "checkpoint_every": 4}
    steps = 0
    step_of_all = stepping.StackedStep.__call__

    def interrupted(*arguments):
        nonlocal steps
        steps += 1
        if steps == 15:
            raise KeyboardInterrupt
        step_of_all(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stepping.StackedStep, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sh.fit_many(make_model, data(), ARMS, [3, 4], **kept)
        steps = 100
        resumed, again = sh.fit_many(make_model, data(), ARMS, [3, 4], **kept)
    assert steps - 100 == settings["steps"] - 12, "it goes on from the last file written"
    pd.testing.assert_frame_equal(whole, resumed, check_exact=True)
    for key, own in params.items():
        assert all(torch.equal(p, again[key][name]) for name, p in own.items())
    finished, once_more = sh.fit_many(make_model, data(), ARMS, [3, 4], **kept)
    pd.testing.assert_frame_equal(whole, finished, check_exact=True)
    for key, own in params.items():
        assert all(torch.equal(p, once_more[key][name]) for name, p in own.items())
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["run.pt"]


@pytest.mark.parametrize("coupled", [True, False])
def test_a_schedule_scales_every_step(coupled):
    """One step at a quarter of the rate, then steps at rate 0, is one step at that rate."""
    sgd = {"optimizer": lambda p: torch.optim.SGD(p, lr=0.2), "coupled": coupled}
    sgd |= {"loss": functional.mse_loss}
    arm = arms.syre(0.05, 0.3)
    falling = sgd | {"steps": 5, "schedule": lambda step: 0.25 if step == 0 else 0.0}
    slow = sgd | {"steps": 1, "optimizer": lambda p: torch.optim.SGD(p, lr=0.05)}
    one, expected = made(0), made(0)
    sh.fit(one, data(), arm, **falling)
    sh.fit(expected, data(), arm, **slow)
    _, many_params = sh.fit_many(make_model, data(), [arm], [0], return_params=True, **falling)
    for name, p in expected.named_parameters():
        torch.testing.assert_close(one.get_parameter(name), p, rtol=0, atol=1e-15)
        torch.testing.assert_close(many_params[arm.name, 0][name], p.data, rtol=0, atol=1e-12)


def test_evaluation_in_chunks_measures_the_same(monkeypatch):
    settings = SETTINGS | {"optimizer": OPTIMIZERS["momentum"]}
    together = sh.fit_many(make_model, data(), ARMS, range(2), **settings)
    monkeypatch.setattr(evaluation, "_SAMPLES_AT_ONCE", 100)
    in_chunks = sh.fit_many(make_model, data(), ARMS, range(2), **settings)
    pd.testing.assert_frame_equal(together, in_chunks, rtol=1e-12)


def test_fit_trains_models_with_buffers():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=generator)
    y = (x[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    table = sh.fit(
        model, (x, y), arms.syre(1e-3), steps=60, loss=functional.cross_entropy,
        optimizer=OPTIMIZERS["momentum"], batch_size=16,
    )  # fmt: skip
    assert table.train_loss.iloc[-1] < 0.3 * table.train_loss.iloc[0]
    assert model[1].num_batches_tracked == 60


def test_batches_cover_an_epoch_without_repeats():
    order = BatchOrder(10, 3, seed=1)
    epochs = [torch.cat([order.at(3 * e + k) for k in range(3)]) for e in range(2)]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 9
    assert epochs[0].tolist() != epochs[1].tolist()
    late = BatchOrder(10, 3, seed=1).at(4)
    assert late.tolist() == epochs[1][3:6].tolist(), "any step's batch is known by itself"
    assert BatchOrder(10, 3, seed=2).at(0).tolist() != epochs[0][:3].tolist()


def test_devices(monkeypatch, capsys):
    assert sh.pick_device("cpu").type == "cpu"
    assert "cpu" in capsys.readouterr().err
    monkeypatch.setenv("SYRE_DEVICE", "cpu")
    assert sh.pick_device(quiet=True).type == "cpu"
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("SYRE_DEVICE", "abacus")
    with pytest.raises(ValueError, match=r"SYRE_DEVICE.*'abacus'"):
        sh.pick_device()
    with pytest.raises(ValueError, match=r"argument name.*'cuda:99'"):
        sh.pick_device("cuda:99")


def test_seed_everything():
    first, second = sh.seed_everything(7), sh.seed_everything(7)
    assert torch.equal(torch.rand(3, generator=first), torch.rand(3, generator=second))
    with pytest.raises(ValueError, match="seed=-1"):
        sh.seed_everything(-1)


x, y, *_ = data()
GOOD = {
    "make_model": make_model, "data": (x, y), "arms": [arms.vanilla()], "seeds": [0], "steps": 1,
    "loss": functional.mse_loss, "optimizer": OPTIMIZERS["momentum"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"steps": 0}, ValueError, "steps=0"),
        ({"log_every": 0}, ValueError, "log_every=0"),
        ({"log_every": [5]}, ValueError, "log_every"),
        ({"seeds": []}, ValueError, "seeds"),
        ({"seeds": [1, 1]}, ValueError, "seeds"),
        ({"arms": []}, ValueError, "arms"),
        ({"arms": [arms.vanilla(), arms.vanilla()]}, ValueError, "different names"),
        ({"data": (x[:0], y[:0])}, ValueError, "empty"),
        ({"data": (x, y[:5])}, ValueError, "32 samples and y has 5"),
        ({"data": (x / 0, y)}, ValueError, "NaN or infinite"),
        ({"data": (x, None)}, ValueError, "y is None"),
        ({"data": (x,)}, ValueError, "data must be"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"batch_size": 33}, ValueError, "batch_size=33"),
        ({"data": lambda step: (x, y), "batch_size": 4}, ValueError, "batch_size"),
        ({"make_model": lambda: 3}, TypeError, "make_model"),
        ({"make_model": lambda: nn.BatchNorm1d(4)}, ValueError, "running_mean"),
        (
            {"optimizer": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1)},
            ValueError,
            "weight_decay=0.1",
        ),
        ({"optimizer": lambda p: torch.optim.LBFGS(p)}, ValueError, "LBFGS"),
    ],
)
def test_bad_input_is_named(change, error, words):
    with pytest.raises(error) as caught:
        sh.fit_many(**(GOOD | change))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: arms.plain_decay(-1), "weight_decay=-1"),
        (lambda: arms.syre(0.1, -0.1), "sigma_ratio=-0.1"),
        (lambda: arms.weight_fix(1.5), "fraction=1.5"),
        (lambda: arms.shrink_and_perturb(2, 0.1, 5), "shrink=2"),
        (lambda: arms.shrink_and_perturb(0.5, 0.1, 0), "every=0"),
        (lambda: arms.perturbed_once(0.1, float("nan")), "sigma_ratio=nan"),
    ],
)
def test_bad_arms_are_named(make, words):
    with pytest.raises(ValueError, match=r".") as caught:
        make()
    assert words in str(caught.value)


def test_noise_of_arms_is_of_the_stated_size():
    params = {"0.weight": torch.zeros(100, 400)}
    for arm in (arms.perturbed_once(0.1, 0.2), arms.bias_added_after(0.1, 0.2)):
        change = (arm.start or arm.finish)(params, 3)["0.weight"]
        assert change.std() == pytest.approx(0.2 / 20, rel=0.02)
    assert (
        noise.normal(0, "a", torch.arange(3)).tolist()
        != noise.normal(3, "a", torch.arange(3)).tolist()
    )
