"""What a GPU computes is what the CPU does. Skipped where there is no GPU.

`pytest tests/test_on_a_gpu.py` takes a minute or two there.
"""

import subprocess
import sys
import warnings

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

import syre_helpers as sh
from syre_helpers import arms
from syre_helpers.removal import on_the_fly as recompute
from syre_helpers.removal import theta_0 as noise
from syre_helpers.removal.pull import pull_together_
from tools.build import chapters

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def net(seed=0, dtype=torch.float32):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Tanh(), nn.Linear(16, 8), nn.Linear(8, 2)]
        return nn.Sequential(*layers).to(dtype)


def images(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1, 4, 4, generator=generator, dtype=dtype)
    return x, (x.mean((1, 2, 3)) > 0).long()


# ---- theta_0 and the pull --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_theta_0_and_d_are_those_of_the_cpu_to_the_last_bit(dtype):
    syre = sh.Syre(0.1, sigma_ratio=0.3, sigma_D=0.1, seed=3)
    here, there = (
        torch.zeros(300, 70, dtype=dtype),
        torch.zeros(300, 70, dtype=dtype, device=DEVICE),
    )
    for values in (syre.bias, syre.metric):
        found = values("a.weight", there)
        assert found.device.type == DEVICE
        assert torch.equal(found.cpu(), values("a.weight", here))


@pytest.mark.parametrize("sigma_D", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_compiled_kernel_is_the_stored_pull(sigma_D, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning says that there is no kernel
        kernel = recompute._kernel(torch.device(DEVICE, 0), dtype, sigma_D > 0)
    assert kernel is not None
    generator = torch.Generator().manual_seed(0)
    sizes = [1, 2, 33, 1000, 1000, noise.CHUNK + 3, 2_000_003]
    params = [torch.randn(n, generator=generator, dtype=dtype).to(DEVICE) for n in sizes]
    params.append(
        torch.randn(8, 6, 3, 3, dtype=dtype).to(DEVICE, memory_format=torch.channels_last)
    )
    recipes = [noise.Specification(3, f"{k}.w", 0.3, sigma_D) for k in range(len(params))]
    stored = [p.clone() for p in params]
    indices = [torch.arange(p.numel(), device=DEVICE).reshape(p.shape) for p in params]
    theta_0 = [r.theta_0(i, dtype) for r, i in zip(recipes, indices, strict=True)]
    xi = [r.D_minus_1(i, dtype) for r, i in zip(recipes, indices, strict=True)] if sigma_D else []
    recompute.pull_on_the_fly_(params, recipes, 0.01)
    pull_together_(stored, theta_0, xi, 0.01)
    for p, right in zip(params, stored, strict=True):
        # One rounding apart at most: which operations a GPU's kernels fuse is theirs to choose.
        torch.testing.assert_close(p, right, rtol=2 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0, foreach=True),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0, fused=True),
    ],
    ids=["sgd", "foreach", "fused"],
)
def test_training_with_attach_goes_where_the_cpu_goes(make, store):
    x, y = images(torch.float64)
    ends = {}
    for device in ("cpu", DEVICE):
        model = net(dtype=torch.float64).to(device)
        optimizer = make(model.parameters())
        sh.Syre(0.5, sigma_ratio=0.5, sigma_D=0.1).attach(optimizer, model, store=store)
        for _ in range(30):
            optimizer.zero_grad()
            functional.cross_entropy(model(x.to(device)), y.to(device)).backward()
            optimizer.step()
        ends[device] = [p.detach().cpu() for p in model.parameters()]
    for a, b in zip(ends["cpu"], ends[DEVICE], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_a_step_that_the_scaler_skips_pulls_nothing():
    for fused in (False, True):
        model = net().to(DEVICE)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0, fused=fused)
        sh.Syre(0.5, sigma_ratio=0.5).attach(optimizer, model)
        scaler = torch.amp.GradScaler(DEVICE)
        before = [p.detach().clone() for p in model.parameters()]
        for end, moves in ((float("inf"), False), (1.0, True)):
            optimizer.zero_grad()
            scaler.scale(model(images()[0].to(DEVICE)).mean() * end).backward()
            scaler.step(optimizer)
            scaler.update()
            pairs = zip(before, model.parameters(), strict=True)
            assert any(not torch.equal(a, b) for a, b in pairs) is moves


# ---- many models -----------------------------------------------------------------------------

ARMS = [
    arms.vanilla(),
    arms.syre(0.05, 0.3, sigma_D=0.2),
    arms.weight_fix(0.3, 0.05),
    arms.shrink_and_perturb(0.2, 0.1, 7, 0.05),
    arms.resampled_bias(0.05, 0.3, every=3),
]
OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0),
}


def many(device, **changes):
    x, y = images(torch.float64)
    settings = {
        "steps": 40,
        "loss": functional.cross_entropy,
        "batch_size": 16,
        "log_every": 9,
        "schedule": lambda step: 0.98**step,
        "optimizer": OPTIMIZERS["momentum"],
        "device": device,
    } | changes
    make_model = settings.pop("make_model", lambda: net(dtype=torch.float64))
    return sh.train_many(make_model, (x, y, x, y), ARMS, range(3), **settings)


def assert_same(one, other, tolerance=1e-8):
    pd.testing.assert_frame_equal(one[0], other[0], rtol=tolerance, atol=tolerance)
    for key, params in one[1].items():
        for name, p in params.items():
            torch.testing.assert_close(p, other[1][key][name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("coupled", [True, False])
def test_many_models_train_as_on_the_cpu_compiled_or_not(name, coupled, capsys, monkeypatch):
    monkeypatch.setenv("SYRE_PROGRESS", "1")
    changes = {"optimizer": OPTIMIZERS[name], "coupled": coupled}
    right = many("cpu", **changes)
    assert_same(right, many(DEVICE, **changes))
    capsys.readouterr()
    assert_same(right, many(DEVICE, compile=True, **changes))
    said = capsys.readouterr().err
    assert "training compiled" in said
    assert "without compilation" not in said


def test_a_compiled_run_goes_on_where_it_was_cut_off(tmp_path, interrupted_at):
    kept = {"compile": True, "checkpoint": tmp_path / "run.pt", "checkpoint_every": 10}
    whole = many(DEVICE, compile=True)
    begun = interrupted_at(25)
    with pytest.raises(KeyboardInterrupt):
        many(DEVICE, **kept)
    assert len(begun) == 25
    assert_same(whole, many(DEVICE, **kept), 1e-10)


def test_fewer_train_at_once_where_memory_runs_out():
    sizes = []

    def demand(moment):
        if moment.step > 0 or moment.rows is not None:
            return
        sizes.append(len(moment.params["0.bias"]))
        if sizes[-1] > 4:
            # More than any GPU has: the true error, from the true allocator.
            torch.empty(2**44, dtype=torch.uint8, device=DEVICE)

    assert_same(many(DEVICE), many(DEVICE, callbacks=[demand]))
    assert sizes == [15, 8, 4, 4, 4, 3]


@pytest.mark.parametrize("arm", [arms.syre(0.05, 0.3), arms.shrink_and_perturb(0.2, 0.1, 7, 0.05)])
def test_one_model_trains_as_on_the_cpu(arm):
    x, y = images(torch.float64)
    tables = [
        sh.fit(
            net(dtype=torch.float64),
            (x, y, x, y),
            arm,
            steps=40,
            loss=functional.cross_entropy,
            optimizer=OPTIMIZERS["momentum"],
            batch_size=16,
            log_every=9,
            device=device,
        )
        for device in ("cpu", DEVICE)
    ]
    pd.testing.assert_frame_equal(*tables, rtol=1e-8, atol=1e-8)


# ---- programs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program", ["many_models", "step_alone", "step_cost", "network_cost", "computed_cost", "growth"]
)
def test_benchmarks_run(program, tmp_path):
    command = [sys.executable, str(chapters.ROOT / "benchmarks" / f"{program}.py"), "--quick"]
    subprocess.run([*command, "--device", DEVICE, "--out", str(tmp_path)], check=True)
    assert (tmp_path / f"{program}.csv").stat().st_size > 0
