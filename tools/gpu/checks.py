"""The checks of the smoke test: each compares with the CPU, or with another way to the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import syre_helpers as sh
from syre_helpers import arms
from syre_helpers._transfer import sent
from syre_helpers.data.augment import cropped_and_recoloured, shifted_and_mirrored
from syre_helpers.training import Moment
from syre_helpers.training.speed import Speed, at_speed, hastened
from tools.gpu.tiny import (
    ARMS,
    STEPS,
    adamw,
    assert_close,
    fitted,
    images,
    many,
    net,
    no_waiting,
    sgd,
    trained,
    watched,
)  # fmt: skip

Check = Callable[[str], None]
CHECKS: list[Check] = []
"""Functions of the device, whose names say what they see to."""


def _checked(check: Check) -> Check:
    CHECKS.append(check)
    return check


@_checked
def theta_0_has_the_same_bits(device: str) -> None:
    syre = sh.Syre(0.1, sigma_ratio=0.3, sigma_D=0.1, seed=3)
    for values in (syre.bias, syre.metric):
        here, there = (values("a.weight", torch.zeros(70, 30, device=d)) for d in ("cpu", device))
        assert torch.equal(here, there.cpu())


@_checked
def attach_trains_as_on_the_cpu(device: str) -> None:
    for make in (sgd, adamw, partial(adamw, fused=True), partial(adamw, foreach=True)):
        for store in (True, False):
            syre = sh.Syre(0.5, sigma_ratio=0.5, sigma_D=0.1)
            attach = partial(syre.attach, store=store)
            ends = [trained(d, make, attach) for d in ("cpu", device)]
            assert_close(*ends)


@_checked
def parametrize_trains_as_on_the_cpu(device: str) -> None:
    syre = sh.Syre(0.5, sigma_ratio=0.5)
    here, there = (trained(d, sgd, lambda o, m: syre.parametrize(m)) for d in ("cpu", device))
    assert_close(here, there)


@_checked
def the_penalty_is_that_of_the_cpu(device: str) -> None:
    syre = sh.Syre(0.5, sigma_ratio=0.5, sigma_D=0.1)
    here, there = (syre.penalty(net().to(d)).detach().cpu() for d in ("cpu", device))
    torch.testing.assert_close(here, there)


@_checked
def a_rate_on_the_device_is_not_waited_for(device: str) -> None:
    model = net().to(device)
    rate = torch.tensor(0.01, dtype=torch.float64, device=device)
    optimizer = adamw(model.parameters(), lr=rate, capturable=device != "cpu", foreach=False)
    sh.Syre(0.5, sigma_ratio=0.5, sigma_D=0.1).attach(optimizer, model)
    x, y = images(device)
    for step in range(STEPS):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        with no_waiting(device if step > 2 else "cpu"):
            optimizer.step()
    syre = sh.Syre(0.5, sigma_ratio=0.5, sigma_D=0.1)
    right = trained("cpu", adamw, lambda o, m: syre.attach(o, m))
    assert_close([p.detach().cpu() for p in model.parameters()], right)


@_checked
def a_step_can_be_captured_as_a_graph(device: str) -> None:
    if device == "cpu":
        return
    model, (x, y) = net().to(device), images(device)
    rate = torch.tensor(0.01, dtype=torch.float64, device=device)
    optimizer = adamw(model.parameters(), lr=rate, capturable=True)
    sh.Syre(0.5, sigma_ratio=0.5).attach(optimizer, model)

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for _ in range(STEPS - 3):
        graph.replay()
    syre = sh.Syre(0.5, sigma_ratio=0.5)
    right = trained("cpu", adamw, lambda o, m: syre.attach(o, m))
    assert_close([p.detach().cpu() for p in model.parameters()], right)


@_checked
def a_scaler_that_skips_a_step_skips_the_pull(device: str) -> None:
    model = net().float().to(device)
    optimizer = adamw(model.parameters(), lr=0.1, fused=True)
    sh.Syre(0.5, sigma_ratio=0.5).attach(optimizer, model)
    scaler = torch.amp.GradScaler(device)
    before = [p.detach().clone() for p in model.parameters()]
    scaler.scale(model(images(device)[0].float()).mean() * float("inf")).backward()
    scaler.step(optimizer)
    assert all(map(torch.equal, before, model.parameters()))


@_checked
def measures_are_those_of_the_cpu(device: str) -> None:
    x = torch.randn(40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for measure in (sh.effective_rank, sh.stable_rank, sh.dead_fraction, sh.duplicate_fraction):
        here, there = measure(x.relu()), measure(x.relu().to(device))
        torch.testing.assert_close(torch.as_tensor(there).cpu(), torch.as_tensor(here))


@_checked
def a_reflection_leaves_the_loss_alone(device: str) -> None:
    model, (x, y) = net().to(device), images(device)
    mirror = sh.permutation_reflection(model, "3", 0, 1)

    def loss(params: Any) -> Tensor:
        return functional.cross_entropy(torch.func.functional_call(model, dict(params), (x,)), y)

    params = {name: p.detach() for name, p in model.named_parameters()}
    torch.testing.assert_close(loss(mirror(params)), loss(params))


@_checked
def fit_trains_as_on_the_cpu(device: str) -> None:
    assert_close(fitted("cpu"), fitted(device))


@_checked
def fit_works_on_a_stream_of_its_own(device: str) -> None:
    if device == "cpu":
        return
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        found = fitted(device)
    assert_close(fitted("cpu"), found)


@_checked
def no_step_of_fit_waits_for_the_device(device: str) -> None:
    x, y = images(device)
    generator = torch.Generator().manual_seed(1)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        which = sent(torch.randperm(64, generator=generator)[:16], x.device)
        return shifted_and_mirrored(x[which], generator, 1), y[which]

    model = net()
    settings: dict[str, Any] = {"loss": functional.cross_entropy, "optimizer": sgd}
    sh.fit(
        model, batch, arms.syre(0.05, 0.3, sigma_D=0.2), steps=STEPS, device=device,
        schedule=lambda step: 0.9**step, callbacks=[watched(device, 3, 9)], **settings,
    )  # fmt: skip


@_checked
def many_models_train_as_on_the_cpu(device: str) -> None:
    assert_close(many("cpu")[1], many(device)[1])


@_checked
def many_models_train_compiled_too(device: str) -> None:
    assert_close(many("cpu")[1], many(device, compile=True)[1])


@_checked
def no_compiled_step_waits_for_the_device(device: str) -> None:
    many(device, compile=True, callbacks=[watched(device, 5, 10)])


@_checked
def a_run_goes_on_where_it_was_cut_off(device: str) -> None:
    def stop(moment: Moment) -> None:
        if moment.step == 7 and moment.rows is None:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        kept: dict[str, Any] = {"checkpoint": Path(folder, "run.pt"), "checkpoint_every": 5}
        for run in (fitted, lambda d, **how: many(d, **how)[1]):
            whole = run(device)
            try:
                run(device, callbacks=[stop], **kept)
            except KeyboardInterrupt:
                assert_close(whole, run(device, **kept))
            else:
                raise AssertionError("it was not cut off")
            kept["checkpoint"].unlink()


@_checked
def fewer_models_train_where_memory_runs_out(device: str) -> None:
    def demand(moment: Moment) -> None:
        first = next(iter(moment.params.values()), None)
        if moment.step == 0 and moment.rows is None and first is not None and len(first) > 3:
            if device == "cpu":
                raise torch.OutOfMemoryError("as if")
            torch.empty(2**44, dtype=torch.uint8, device=device)

    assert_close(many("cpu")[1], many(device, callbacks=[demand])[1])


@_checked
def images_are_changed_as_on_the_cpu(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(32, 3, 16, 16, generator=generator)
    low, high = torch.zeros(()), torch.ones(())
    here, there = (
        shifted_and_mirrored(x.to(d), torch.Generator().manual_seed(1)).cpu()
        for d in ("cpu", device)
    )
    assert torch.equal(here, there)
    here, there = (
        cropped_and_recoloured(x.to(d), low.to(d), high.to(d), 5).cpu() for d in ("cpu", device)
    )
    # A place between two pixels may be rounded to either side.
    assert float((here - there).abs().mean()) < 1e-3


@_checked
def a_network_of_images_trains_at_speed(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 3, 16, 16, generator=generator).to(device), torch.arange(64) % 10

    def flat(model: nn.Module) -> Tensor:
        return torch.cat([p.detach().cpu().flatten() for p in model.parameters()])

    def moved(speed: Speed) -> Tensor:
        with at_speed(speed), torch.random.fork_rng():
            torch.manual_seed(0)
            model = hastened(sh.models.resnet18(width=4))
            start = flat(model)
            sh.fit(
                model, lambda step: (x, y.to(device)), arms.syre(5e-4, 0.01), steps=5,
                loss=functional.cross_entropy, device=device,
                optimizer=lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9),
            )  # fmt: skip
        return flat(model) - start

    plain = moved(Speed())
    fast = moved(Speed(bf16=True, channels_last=True, compiled=True))
    # Filters one after the other, and in another precision: the same way, to a tenth or so.
    assert float(functional.cosine_similarity(fast, plain, dim=0)) > 0.9


@_checked
def stacked_transformers_train_in_bfloat16(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 3, 8, 8, generator=generator), torch.arange(64) % 10

    def losses(speed: Speed) -> Tensor:
        with at_speed(speed):
            table = sh.fit_many(
                lambda: hastened(sh.models.vit((3, 8, 8), 10, 4, 16, 1, 2, 16), alone=False),
                (x, y), ARMS[:2], range(2), steps=STEPS, loss=functional.cross_entropy,
                optimizer=adamw, coupled=False, batch_size=16, device=device, compile=False,
            )  # fmt: skip
        return torch.tensor(table.train_loss.tolist())

    torch.testing.assert_close(losses(Speed(bf16=True)), losses(Speed()), rtol=0.03, atol=0)
