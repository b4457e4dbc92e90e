"""What a GPU computes is what the CPU does. Skipped where there is no GPU.

`pytest tests/test_on_a_gpu.py` takes a minute or two there. With ``SYRE_TESTED_ON=cpu`` the CPU
takes the GPU's place: a rehearsal of the tests themselves.
"""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

import syre_helpers as sh
from syre_helpers import arms
from syre_helpers._transfer import sent
from syre_helpers.data import shifted_and_mirrored
from syre_helpers.removal import on_the_fly as recompute
from syre_helpers.removal import theta_0 as noise
from syre_helpers.removal.pull import pull_together_

DEVICE = os.environ.get("SYRE_TESTED_ON", "cuda")
ON_GPU = DEVICE != "cpu"
pytestmark = pytest.mark.skipif(ON_GPU and not torch.cuda.is_available(), reason="no GPU here")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


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
        kernel = recompute._kernel(torch.device("cuda:0" if ON_GPU else DEVICE), dtype, sigma_D > 0)
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
            if not ON_GPU:
                raise torch.OutOfMemoryError("as if")
            # More than any GPU has: the true error, from the true allocator.
            torch.empty(2**44, dtype=torch.uint8, device=DEVICE)

    assert_same(many(DEVICE), many(DEVICE, callbacks=[demand]))
    assert sizes == [15, 8, 4, 4, 4, 3]


def test_memory_that_runs_out_in_a_single_training_is_told_with_the_remedy():
    def demand(moment):
        if not ON_GPU:
            raise torch.OutOfMemoryError("as if")
        torch.empty(2**44, dtype=torch.uint8, device=DEVICE)

    with pytest.raises(torch.OutOfMemoryError) as caught:
        one_model(DEVICE, callbacks=[demand])
    assert "batch_size=16" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("arm", [arms.syre(0.05, 0.3), arms.shrink_and_perturb(0.2, 0.1, 7, 0.05)])
def test_one_model_trains_as_on_the_cpu(arm):
    tables = [one_model(device, arm) for device in ("cpu", DEVICE)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-8, atol=1e-8)


def one_model(device, arm=None, **changes):
    x, y = images(torch.float64)
    settings = {
        "steps": 40,
        "loss": functional.cross_entropy,
        "optimizer": OPTIMIZERS["momentum"],
        "batch_size": 16,
        "log_every": 9,
        "device": device,
    } | changes
    return sh.fit(net(dtype=torch.float64), (x, y, x, y), arm, **settings)


# ---- nothing waits for the GPU ---------------------------------------------------------------


def watched(first, last):
    """Return a callback under which no step from one to another may wait for the GPU."""

    def watch(moment):
        if ON_GPU and moment.rows is None and moment.step in (first, last):
            torch.cuda.set_sync_debug_mode("error" if moment.step == first else "default")

    return watch


@pytest.fixture
def _default_mode():
    yield
    if ON_GPU:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.usefixtures("_default_mode")
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_step_of_many_models_waits(name, compile):
    compared = [arms.plain_decay(0.05), arms.syre(0.05, 0.3, sigma_D=0.2)]
    x, y = images()
    sh.fit_many(
        net, (x, y), compared, range(2), steps=12, loss=functional.cross_entropy, batch_size=16,
        optimizer=OPTIMIZERS[name], schedule=lambda step: 0.9**step, device=DEVICE,
        compile=compile, callbacks=[watched(6, 11)],
    )  # fmt: skip


@pytest.mark.usefixtures("_default_mode")
@pytest.mark.parametrize("coupled", [False, True])
def test_no_step_of_one_model_waits(coupled):
    x, y = (part.to(DEVICE) for part in images(torch.float64))
    draw = torch.Generator().manual_seed(0)

    def batch(step):
        which = sent(torch.randperm(64, generator=draw)[:16], x.device)
        return shifted_and_mirrored(x[which], draw, 1), y[which]

    sh.fit(
        net(dtype=torch.float64), batch, arms.syre(0.05, 0.3, sigma_D=0.2), steps=12,
        loss=functional.cross_entropy, optimizer=OPTIMIZERS["momentum"], coupled=coupled,
        schedule=lambda step: 0.9**step, device=DEVICE, callbacks=[watched(3, 11)],
    )  # fmt: skip


@pytest.mark.usefixtures("_default_mode")
@pytest.mark.parametrize("store", [True, False])
def test_a_rate_that_is_a_tensor_is_not_waited_for(store):
    ends = {}
    x, y = images()
    for device in ("cpu", DEVICE):
        model = net().to(device)
        on_gpu = device != "cpu"
        rate = torch.tensor(0.01, device=device) if on_gpu else 0.01
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=rate, weight_decay=0, foreach=False, capturable=on_gpu
        )
        sh.Syre(0.5, sigma_ratio=0.5, sigma_D=0.1).attach(optimizer, model, store=store)
        for step in range(12):
            optimizer.zero_grad()
            functional.cross_entropy(model(x.to(device)), y.to(device)).backward()
            if on_gpu and step > 3:
                torch.cuda.set_sync_debug_mode("error")
            optimizer.step()
            if on_gpu:
                torch.cuda.set_sync_debug_mode("default")
        ends[on_gpu] = [p.detach().cpu() for p in model.parameters()]
    for a, b in zip(ends[False], ends[ON_GPU], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_pinned_memory_may_be_dropped_before_the_copy_is_done():
    draw = torch.Generator().manual_seed(0)
    numbers = [torch.randint(1000, (5000,), generator=draw) for _ in range(200)]
    found = [sent(n.clone(), torch.device(DEVICE)) for n in numbers]
    assert all(torch.equal(a.cpu(), b) for a, b in zip(found, numbers, strict=True))


def test_training_on_a_stream_of_its_own_is_that_on_the_usual_one():
    right = one_model(DEVICE, arms.syre(0.05, 0.3))
    if ON_GPU:
        with torch.cuda.stream(torch.cuda.Stream()):
            found = one_model(DEVICE, arms.syre(0.05, 0.3))
        pd.testing.assert_frame_equal(right, found, rtol=1e-10, atol=1e-12)


# ---- programs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program",
    ["many_models", "step_alone", "step_cost", "network_cost", "computed_cost", "growth", "graphs"],
)
def test_benchmarks_run(program, tmp_path):
    command = [sys.executable, str(BENCHMARKS / f"{program}.py"), "--quick"]
    subprocess.run([*command, "--device", DEVICE, "--out", str(tmp_path)], check=True)
    assert (tmp_path / f"{program}.csv").stat().st_size > 0
