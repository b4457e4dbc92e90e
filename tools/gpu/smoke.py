"""Every way through the package on a device, small: `python -m tools.gpu.smoke --device cuda`.

Each check compares with the CPU or with another way to the same. One that fails does not end the
rest. After each, ``smoke.csv`` is written anew.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import syre_helpers as sh
from syre_helpers import arms
from syre_helpers._provenance import write_whole
from syre_helpers._transfer import sent
from syre_helpers.data.augment import cropped_and_recoloured, shifted_and_mirrored
from syre_helpers.training import Moment
from syre_helpers.training.speed import Speed, at_speed, hastened

Check = Callable[[str], None]
STEPS = 12
_CHECKS: list[Check] = []
_ARMS = (
    arms.plain_decay(0.05),
    arms.syre(0.05, 0.3, sigma_D=0.2),
    arms.weight_fix(0.3, 0.05),
    arms.shrink_and_perturb(0.2, 0.1, 5, 0.05),
    arms.resampled_bias(0.05, 0.3, every=3),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="tools.gpu.smoke", description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True, help="folder of smoke.csv")
    options = parser.parse_args(arguments)
    print(sh.pick_device(options.device))
    rows = []
    for check in _CHECKS:
        begin = time.perf_counter()
        words = _outcome(check, options.device)
        seconds = round(time.perf_counter() - begin, 2)
        name = check.__name__.replace("_", " ")
        rows.append({"check": name, "outcome": words, "seconds": seconds})
        print(f"{name}: {words} ({seconds} s)", flush=True)
        write_whole(options.out / "smoke.csv", _table(rows))
    failed = sum(row["outcome"] != "ok" for row in rows)
    print(f"{len(rows) - failed} passed, {failed} failed")
    return int(failed > 0)


def _outcome(check: Check, device: str) -> str:
    """Return "ok", or the first line of what went wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(device)
    except Exception as error:  # the next check says something else
        first = (str(error).strip() or "no words").partition("\n")[0]
        return f"{type(error).__name__}: {first}"
    return "ok"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO()
    lines = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    lines.writeheader()
    lines.writerows(rows)
    return file.getvalue()


def _checked(check: Check) -> Check:
    _CHECKS.append(check)
    return check


# ---- what the checks share -----------------------------------------------------------------------


def _net(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Tanh(), nn.Linear(16, 8), nn.Linear(8, 2)]
        return nn.Sequential(*layers).double()


def _images(device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1, 4, 4, generator=generator, dtype=torch.float64)
    return x.to(device), (x.mean((1, 2, 3)) > 0).long().to(device)


def _sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.05, momentum=0.9)


def _adamw(params: Any, **how: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, **{"lr": 0.01, "weight_decay": 0.0} | how)


def _trained(
    device: str,
    make: Callable[[Any], torch.optim.Optimizer],
    prepare: Callable[[torch.optim.Optimizer, nn.Module], object],
) -> list[Tensor]:
    """Return the parameters of a network after some steps."""
    model = _net().to(device)
    optimizer = make(model.parameters())
    prepare(optimizer, model)
    x, y = _images(device)
    for _ in range(STEPS):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return [p.detach().cpu() for p in model.parameters()]


def _assert_close(these: Sequence[Tensor], those: Sequence[Tensor]) -> None:
    for a, b in zip(these, those, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def _many(device: str, **changes: Any) -> tuple[Any, list[Tensor]]:
    """Return the table and the parameters of several arms and seeds, trained as one."""
    settings: dict[str, Any] = {
        "steps": STEPS,
        "loss": functional.cross_entropy,
        "optimizer": _sgd,
        "schedule": lambda step: 0.98**step,
        "batch_size": 16,
        "compile": False,
    }
    x, y = _images("cpu")
    table, found = sh.train_many(
        _net, (x, y, x, y), _ARMS, range(2), device=device, **settings | changes
    )
    return table, [p.cpu() for own in found.values() for p in own.values()]


def _fitted(device: str, **changes: Any) -> list[Tensor]:
    """Return the parameters of a network after `fit`."""
    settings: dict[str, Any] = {
        "steps": STEPS,
        "loss": functional.cross_entropy,
        "optimizer": _sgd,
        "batch_size": 16,
    }
    model = _net()
    arm = arms.syre(0.05, 0.3, sigma_D=0.2)
    sh.fit(model, _images("cpu"), arm, device=device, **settings | changes)
    return [p.detach().cpu() for p in model.parameters()]


@contextmanager
def _no_waiting(device: str) -> Iterator[None]:
    """Let what waits for a GPU raise an error; on a CPU there is nothing to wait for."""
    if device == "cpu":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def watched(device: str, first: int, last: int) -> Callable[[Moment], None]:
    """Return a callback under which no step from one to another may wait for a GPU."""

    def watch(moment: Moment) -> None:
        if device != "cpu" and moment.rows is None and moment.step in (first, last):
            torch.cuda.set_sync_debug_mode("error" if moment.step == first else "default")

    return watch


# ---- the checks ----------------------------------------------------------------------------------


@_checked
def theta_0_has_the_same_bits(device: str) -> None:
    syre = sh.Syre(0.1, sigma_ratio=0.3, sigma_D=0.1, seed=3)
    for values in (syre.bias, syre.metric):
        here, there = (values("a.weight", torch.zeros(70, 30, device=d)) for d in ("cpu", device))
        assert torch.equal(here, there.cpu())


@_checked
def attach_trains_as_on_the_cpu(device: str) -> None:
    for make in (_sgd, _adamw, lambda p: _adamw(p, fused=True), lambda p: _adamw(p, foreach=True)):
        for store in (True, False):
            syre = sh.Syre(0.5, sigma_ratio=0.5, sigma_D=0.1)
            ends = [
                _trained(d, make, lambda o, m, s=syre, k=store: s.attach(o, m, store=k))
                for d in ("cpu", device)
            ]
            _assert_close(*ends)


@_checked
def parametrize_trains_as_on_the_cpu(device: str) -> None:
    syre = sh.Syre(0.5, sigma_ratio=0.5)
    here, there = (_trained(d, _sgd, lambda o, m: syre.parametrize(m)) for d in ("cpu", device))
    _assert_close(here, there)


@_checked
def the_penalty_is_that_of_the_cpu(device: str) -> None:
    syre = sh.Syre(0.5, sigma_ratio=0.5, sigma_D=0.1)
    here, there = (syre.penalty(_net().to(d)).detach().cpu() for d in ("cpu", device))
    torch.testing.assert_close(here, there)


@_checked
def a_rate_on_the_device_is_not_waited_for(device: str) -> None:
    model = _net().to(device)
    rate = torch.tensor(0.01, dtype=torch.float64, device=device)
    optimizer = _adamw(model.parameters(), lr=rate, capturable=device != "cpu", foreach=False)
    sh.Syre(0.5, sigma_ratio=0.5, sigma_D=0.1).attach(optimizer, model)
    x, y = _images(device)
    for step in range(STEPS):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        with _no_waiting(device if step > 2 else "cpu"):
            optimizer.step()
    syre = sh.Syre(0.5, sigma_ratio=0.5, sigma_D=0.1)
    right = _trained("cpu", _adamw, lambda o, m: syre.attach(o, m))
    _assert_close([p.detach().cpu() for p in model.parameters()], right)


@_checked
def a_step_can_be_captured_as_a_graph(device: str) -> None:
    if device == "cpu":
        return
    model, (x, y) = _net().to(device), _images(device)
    rate = torch.tensor(0.01, dtype=torch.float64, device=device)
    optimizer = _adamw(model.parameters(), lr=rate, capturable=True)
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
    right = _trained("cpu", _adamw, lambda o, m: syre.attach(o, m))
    _assert_close([p.detach().cpu() for p in model.parameters()], right)


@_checked
def a_scaler_that_skips_a_step_skips_the_pull(device: str) -> None:
    model = _net().float().to(device)
    optimizer = _adamw(model.parameters(), lr=0.1, fused=True)
    sh.Syre(0.5, sigma_ratio=0.5).attach(optimizer, model)
    scaler = torch.amp.GradScaler(device)
    before = [p.detach().clone() for p in model.parameters()]
    scaler.scale(model(_images(device)[0].float()).mean() * float("inf")).backward()
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
    model, (x, y) = _net().to(device), _images(device)
    mirror = sh.permutation_reflection(model, "3", 0, 1)

    def loss(params: Any) -> Tensor:
        return functional.cross_entropy(torch.func.functional_call(model, dict(params), (x,)), y)

    params = {name: p.detach() for name, p in model.named_parameters()}
    torch.testing.assert_close(loss(mirror(params)), loss(params))


@_checked
def fit_trains_as_on_the_cpu(device: str) -> None:
    _assert_close(_fitted("cpu"), _fitted(device))


@_checked
def fit_works_on_a_stream_of_its_own(device: str) -> None:
    if device == "cpu":
        return
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        found = _fitted(device)
    _assert_close(_fitted("cpu"), found)


@_checked
def no_step_of_fit_waits_for_the_device(device: str) -> None:
    x, y = _images(device)
    generator = torch.Generator().manual_seed(1)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        which = sent(torch.randperm(64, generator=generator)[:16], x.device)
        return shifted_and_mirrored(x[which], generator, 1), y[which]

    model = _net()
    settings: dict[str, Any] = {"loss": functional.cross_entropy, "optimizer": _sgd}
    sh.fit(
        model, batch, arms.syre(0.05, 0.3, sigma_D=0.2), steps=STEPS, device=device,
        schedule=lambda step: 0.9**step, callbacks=[watched(device, 3, 9)], **settings,
    )  # fmt: skip


@_checked
def many_models_train_as_on_the_cpu(device: str) -> None:
    _assert_close(_many("cpu")[1], _many(device)[1])


@_checked
def many_models_train_compiled_too(device: str) -> None:
    _assert_close(_many("cpu")[1], _many(device, compile=True)[1])


@_checked
def no_compiled_step_waits_for_the_device(device: str) -> None:
    _many(device, compile=True, callbacks=[watched(device, 5, 10)])


@_checked
def a_run_goes_on_where_it_was_cut_off(device: str) -> None:
    def stop(moment: Moment) -> None:
        if moment.step == 7 and moment.rows is None:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        kept: dict[str, Any] = {"checkpoint": Path(folder, "run.pt"), "checkpoint_every": 5}
        for run in (_fitted, lambda d, **how: _many(d, **how)[1]):
            whole = run(device)
            try:
                run(device, callbacks=[stop], **kept)
            except KeyboardInterrupt:
                _assert_close(whole, run(device, **kept))
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

    _assert_close(_many("cpu")[1], _many(device, callbacks=[demand])[1])


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

    def moved(speed: Speed) -> Tensor:
        with at_speed(speed), torch.random.fork_rng():
            torch.manual_seed(0)
            model = hastened(sh.models.resnet18(width=8))
            start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
            sh.fit(
                model, lambda step: (x, y.to(device)), arms.syre(5e-4, 0.01), steps=5,
                loss=functional.cross_entropy, device=device,
                optimizer=lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9),
            )  # fmt: skip
        return nn.utils.parameters_to_vector(model.parameters()).detach().cpu() - start

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
                (x, y), _ARMS[:2], range(2), steps=STEPS, loss=functional.cross_entropy,
                optimizer=_adamw, coupled=False, batch_size=16, device=device, compile=False,
            )  # fmt: skip
        return torch.tensor(table.train_loss.tolist())

    torch.testing.assert_close(losses(Speed(bf16=True)), losses(Speed()), rtol=0.03, atol=0)


if __name__ == "__main__":
    sys.exit(main())
