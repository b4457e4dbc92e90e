"""Runs of `test_several_devices`, the same function in one process and in each of two.

``python two_processes.py RANK FOLDER NAME...`` is one of the two: it does the runs that are named
and leaves what they return in FOLDER, for the test to compare with its own.
"""

import contextlib
import io
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import small_training
import syre_helpers as sh
from small_models import seeded as made
from syre_helpers import arms

# Seconds; what is longer hangs.
LIMIT = 400

ARMS = [small_training.ARMS[k] for k in (0, 1, 2, 3, 7, 11)]
OPTIMIZERS = {name: small_training.OPTIMIZERS[name] for name in ("momentum", "adam")}
# Seven samples cannot be shared out evenly.
SETTINGS = {
    "steps": 11,
    "loss": functional.mse_loss,
    "batch_size": 7,
    "log_every": 4,
    "optimizer": OPTIMIZERS["momentum"],
}


def mlp():
    return nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 1))


def data(samples=32, inputs=4):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, inputs, generator=generator, dtype=torch.float64)
    return x, torch.sin(x.sum(1, keepdim=True))


def values(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def fitted(accelerator, model, *arguments, **settings):
    table = sh.fit(model, *arguments, **(SETTINGS | settings), accelerator=accelerator)
    return table[["step", "train_loss"]].to_dict("list"), values(model)


def every_arm(accelerator, folder):
    return {
        (arm.label, name, coupled): fitted(
            accelerator, made(mlp), (*data(), *data(16)), arm, optimizer=make, coupled=coupled
        )
        for arm in ARMS
        for name, make in OPTIMIZERS.items()
        for coupled in (True, False)
    }


def contrast(output, partner):
    """Return a loss that is no mean over samples: each is compared with all others."""
    return functional.cross_entropy(output @ output.T, partner)


def other_ways(accelerator, folder):
    """Return runs with losses, data and models of other kinds."""
    x, y = data()
    scaled = arms.syre(0.05, 0.3)
    partner = torch.arange(7).roll(1)
    steep = {"schedule": lambda step: 1 / (1 + step)}
    penalised = made(mlp)

    def with_penalty(output, target):
        size = sum(p.square().sum() for p in penalised.parameters())
        return functional.mse_loss(output, target) + 0.1 * size

    return {
        "contrast": fitted(
            accelerator, made(mlp), lambda step: (x[step : step + 7], partner), scaled,
            loss=contrast, batch_size=None,
        ),
        "sum": fitted(
            accelerator, made(mlp), (x, y), scaled, **steep,
            loss=lambda output, target: (output - target).square().sum() / 100,
        ),
        "penalty": fitted(accelerator, penalised, (x, y), scaled, loss=with_penalty),
        "all data": fitted(accelerator, made(mlp), (x, y), scaled, batch_size=None),
        "no input": fitted(
            accelerator, made(lambda: sh.models.MatrixFactorisation(5, 5, 3)),
            (None, torch.eye(5, dtype=torch.float64)), scaled, batch_size=None,
        ),
    }  # fmt: skip


def own_start(accelerator, folder):
    """Return a run from other initial values in each process: those of the first count."""
    rank = 0 if accelerator is None else accelerator.process_index
    return fitted(accelerator, made(mlp, seed=rank), data(), arms.pull_to_start(0.05))


def half_precision(accelerator, folder):
    """Return a run under autocast; the accelerator is made for it, see `accelerated`."""
    return fitted(accelerator, made(mlp).float(), data(), arms.syre(0.05, 0.3))


def accelerated(name):
    """Return a new accelerator for a run; what accelerate keeps for all of them is forgotten."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state()
    GradientState._reset_state()
    return Accelerator(cpu=True, mixed_precision="bf16" if name == "half_precision" else "no")


INTERRUPTED = {"steps": 23, "checkpoint_every": 6, "optimizer": OPTIMIZERS["adam"]}


def interrupted(accelerator, folder, call):
    """Train with a file; tell a function of each training step, with its number from 1."""
    return fitted(
        accelerator, made(mlp), data(), ARMS[3], **INTERRUPTED,
        callbacks=[lambda moment: moment.rows is None and call(moment.step + 1)],
        checkpoint=folder and folder / "state" / "run.pt",
    )  # fmt: skip


def killed(accelerator, folder):
    """Train until the second process is gone, without a word, in its 17th step."""

    def die(count):
        if count == 17 and accelerator.process_index == 1:
            os._exit(9)

    interrupted(accelerator, folder, die)


def resumed(accelerator, folder):
    steps = []
    return interrupted(accelerator, folder, steps.append), len(steps)


def error_of(call):
    try:
        call()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def refused(accelerator, folder):
    from accelerate import Accelerator

    own = folder / f"own {accelerator.process_index}" / "run.pt"
    if accelerator.process_index == 1:
        sh.fit(made(mlp), data(), **SETTINGS, checkpoint=own)
    flat = made(lambda: nn.Sequential(nn.Linear(4, 2), nn.Flatten(0)))
    normed = made(lambda: nn.Sequential(nn.Linear(4, 7), nn.BatchNorm1d(7), nn.Linear(7, 1)))
    sharded = made(mlp)
    shard(sharded)
    errors = {
        "small batch": error_of(lambda: fitted(accelerator, made(mlp), data(), batch_size=1)),
        "no rows": error_of(lambda: fitted(accelerator, flat, data(), loss=lambda z, y: z.sum())),
        "own file": error_of(lambda: fitted(accelerator, made(mlp), data(), checkpoint=own)),
        "sharded": error_of(lambda: fitted(accelerator, sharded, data())),
        "batch norm": error_of(lambda: fitted(accelerator, normed, data())),
    }
    many = Accelerator(cpu=True, gradient_accumulation_steps=2)
    return errors | {"accumulation": error_of(lambda: fitted(many, made(mlp), data()))}


def shard(model):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2,))
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(tensor):
    tensor = tensor.detach()
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor.clone()


def placed(accelerator, folder):
    """Return theta_0, D and its parts for one parameter that lies in several ways."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (2,))
    found = {}
    for shape in [(7, 3), (1, 5), (6,), (3, 4, 2)]:
        for placement in (Shard(0), Replicate(), *([Shard(1)] if len(shape) > 1 else [])):
            syre = sh.Syre(0.1, 0.3, sigma_D=0.2, seed=5)
            tensor = distribute_tensor(torch.zeros(shape), mesh, [placement])
            made = syre.bias("module.0.weight", tensor), syre.metric("module.0.weight", tensor)
            assert all(value.placements == tensor.placements for value in made)
            assert made[0].to_local().shape == tensor.to_local().shape
            found[shape, str(placement)] = tuple(whole(value) for value in made)
    return found


def looped(accelerator, model, way, sigma_D, optimizer, prepare=None, parts=1):
    """Train as a reader's own loop would, each process on its half of every batch."""
    x, y = data(8)
    if accelerator is not None:
        x, y = (t.tensor_split(2)[accelerator.process_index] for t in (x, y))
    accumulated = parts > 1 and accelerator is not None
    syre = sh.Syre(0.5, 0.3, sigma_D=sigma_D, seed=4)
    if way == "parametrize":
        syre.parametrize(model)
    if prepare is not None:
        model = prepare(model) or model
    made = optimizer(model.parameters())
    if way == "parametrize":
        made.param_groups[0]["weight_decay"] = 0.5
    if accumulated:
        model, made = accelerator.prepare(model, made)
    if way == "attach":
        syre.attach(made, model)
    if way == "recompute":
        # The same to the last bit as what is stored, and so is the one process' reference.
        syre.attach(made, model, store=accelerator is None)
    for _ in range(5):
        for k, (own_x, own_y) in enumerate(zip(x.chunk(parts), y.chunk(parts), strict=True), 1):
            with accelerator.accumulate(model) if accumulated else contextlib.nullcontext():
                loss = functional.mse_loss(model(own_x), own_y)
                accelerator.backward(loss) if accumulated else (loss / parts).backward()
                if accumulated or k == parts:
                    made.step()
                    made.zero_grad()
    return {n.removeprefix("module."): whole(p) for n, p in model.named_parameters()}


def sharded_training(accelerator, folder):
    several = accelerator is not None
    return {
        (way, sigma_D, name): looped(
            accelerator, made(mlp), way, sigma_D, optimizer, prepare=shard if several else None
        )
        for way in ("attach", "recompute", "parametrize")
        for sigma_D in (0.0, 0.2)
        for name, optimizer in OPTIMIZERS.items()
    }


def sharded_errors(accelerator, folder):
    model = made(mlp)
    shard(model)
    syre = sh.Syre(0.5)
    shifted = sh.Syre(0.5).parametrize(made(mlp))
    shard(shifted)
    adam = torch.optim.Adam(shifted.parameters())
    return {
        "penalty": error_of(lambda: syre.penalty(model)),
        "parametrize": error_of(lambda: syre.parametrize(model)),
        "remove": error_of(lambda: syre.remove(shifted)),
        "twice": error_of(lambda: syre.attach(adam, shifted)),
    }


def wrapped_training(accelerator, folder):
    from accelerate import Accelerator

    wrap = None if accelerator is None else nn.parallel.DistributedDataParallel
    sgd = OPTIMIZERS["momentum"]
    runs = {"data parallel": looped(accelerator, made(mlp), "attach", 0.2, sgd, prepare=wrap)}
    many = None if accelerator is None else Accelerator(cpu=True, gradient_accumulation_steps=2)
    runs["accumulated"] = looped(many, made(mlp), "attach", 0.2, sgd, parts=2)
    return runs


# An experiment without BatchNorm, which several processes on a CPU refuse.
TINY = {
    "dim": 16, "depth": 1, "steps": 3, "batch_size": 7, "seeds": 1, "decays": (0.5,),
    "sigma_ratios": (0.3,), "sigmas": (), "rank_samples": 10,
}  # fmt: skip


@contextlib.contextmanager
def tiny_experiment():
    """Have a preset "tiny" of an experiment inside the ``with`` block, and images for it."""
    from syre_helpers import data, experiments

    def photographs(n_train=None, n_test=None):
        generator = torch.Generator().manual_seed(0)
        x, y = torch.rand(60, 3, 32, 32, generator=generator), torch.arange(60) % 10
        return data.DataSplit(x[:40], y[:40], x[40:], y[40:])

    module = experiments.load("supervised_collapse")
    module.PRESETS["tiny"] = experiments.configure(module, "vit", **TINY)
    downloaded, data.cifar10 = data.cifar10, photographs
    try:
        yield experiments
    finally:
        data.cifar10 = downloaded
        del module.PRESETS["tiny"]


def experiment(accelerator, folder):
    with tiny_experiment() as experiments:
        return experiments.run("supervised_collapse", preset="tiny").to_dict("list")


def command(accelerator, folder):
    """Return the output of the command line, which ends what joins the processes."""
    from syre_helpers import __main__

    def run(name, preset, *words):
        said, erred = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(erred):
            status = __main__.main(["run", name, "--preset", preset, *words])
        return status, said.getvalue(), erred.getvalue()

    where = ["--checkpoints", str(folder / "command"), "--out", str(folder / "command.csv")]
    with tiny_experiment():
        return {
            "stacked": run("dead_neurons", "quick"),
            "grid": run("supervised_collapse", "tiny", "--jobs", "2"),
            "device": run("supervised_collapse", "tiny", "--device", "cpu:0"),
            "run": run("supervised_collapse", "tiny", *where),
        }


def start(folder, *names):
    """Start both processes, wait for them, and return their exit statuses and complaints."""
    # Nothing is compiled: that would take most of the time.
    environment = os.environ | {"TORCHDYNAMO_DISABLE": "1", "SYRE_PROGRESS": "0"}
    said = [Path(folder) / f"said.{rank}" for rank in (0, 1)]
    both = []
    for rank, file in enumerate(said):
        with file.open("w") as out:
            command = [sys.executable, __file__, str(rank), str(folder), *names]
            both.append(
                subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
            )
    try:
        statuses = [process.wait(LIMIT) for process in both]
    finally:
        for process in both:
            process.kill()
            process.wait()
    (Path(folder) / "meeting").unlink(missing_ok=True)
    return statuses, [file.read_text() for file in said]


def main(rank, folder, names):
    torch.set_num_threads(1)
    folder = Path(folder)
    local = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if local:
        os.environ["GLOO_SOCKET_IFNAME"] = local
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2,
        timeout=timedelta(seconds=LIMIT / 2),
    )  # fmt: skip
    for name in names:
        found = globals()[name](accelerated(name), folder)
        torch.save(found, folder / f"{name}.{rank}.pt")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
