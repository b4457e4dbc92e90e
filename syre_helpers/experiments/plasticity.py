"""Loss of plasticity: digits whose pixels are shuffled anew for every task, one task after another.

Each task is as hard as the one before. A network that has lost its plasticity learns the later ones
worse than the first ones did. Without ``tuning_seeds`` every arm runs at a setting fixed in
advance. With them every arm is tuned first, all with the same number of settings, and the best
setting of each runs again with seeds, tasks and batches that the tuning has not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from .. import data as data_sets
from ..measures import dead_fraction, effective_rank
from ..models import mlp
from ..removal import Arm, Pull, arms
from ..training import fit_many
from ..training.batches import BatchOrder
from ._claims import Claim
from ._common import Seeds, seeds_of

if TYPE_CHECKING:
    import pandas as pd

Params = Mapping[str, Tensor]
LATE = 5
"""The score of a run is its mean accuracy over so many tasks at the end."""
LARGER = 3**0.5
"""``nn.Linear`` starts at this fraction of the size of syre's bias with a ratio of 1."""


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Parameters
    ----------
    data : {"digits", "mnist"}
        Images. Default scikit-learn's digits.
    samples : int
        Training images to use. Default 0: all.
    tasks, steps : int
        Number of tasks, and training steps of each. Defaults 30 and 80.
    width, layers : int
        Hidden units a layer, and hidden layers. Defaults 64 and 4.
    batch_size : int
        Default 64.
    optimizer : {"sgd", "adamw"}
        With SGD the pull enters the gradient; with AdamW it is a step of its own.
    lr, momentum : float
        Defaults 0.05 and 0.9; AdamW has no momentum to set.
    weight_decay : float
        PyTorch's; gamma is half of it. Default 0.02.
    sigma_ratios : tuple of float
        Strengths of syre to compare.
    tuning_seeds : int
        Seeds of the tuning. Default 0: no tuning, `lr` and `weight_decay` are what is used.
    lrs, decays : tuple of float
        What the tuning may choose from: two learning rates, four decays. Vanilla, which has nothing
        else to tune, has `vanilla_lrs`, eight learning rates.
    vanilla_lrs : tuple of float
        See `lrs`.
    seeds : int or tuple of int
        Number of seeds, counted from 0, or from `tuning_seeds` after a tuning; without a tuning
        also the seeds themselves. Default 8.
    device : str
        Default "cpu".
    """

    data: Literal["digits", "mnist"] = "digits"
    samples: int = 0
    tasks: int = 30
    steps: int = 80
    width: int = 64
    layers: int = 4
    batch_size: int = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.02
    sigma_ratios: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0)
    tuning_seeds: int = 0
    lrs: tuple[float, float] = (0.02, 0.05)
    decays: tuple[float, float, float, float] = (0.003, 0.01, 0.03, 0.1)
    vanilla_lrs: tuple[float, ...] = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1)
    seeds: Seeds = 8
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.tuning_seeds and not isinstance(self.seeds, int):
            raise ValueError(
                f"seeds={self.seeds!r} with tuning_seeds={self.tuning_seeds}: the seeds of a tuned "
                "run share its tuning and cannot be split; give their number"
            )


PRESETS = {
    # Half as wide and with fewer tasks than the tuned run, so that a page can run it.
    "quick": Config(tasks=10, width=32, weight_decay=0.01, sigma_ratios=(0.01, 0.3, 1.0)),
    "tuned": Config(tuning_seeds=3, seeds=10),
    # The pull is a step of its own: 1 at a learning rate of 0.002 takes 0.2% at a step.
    "tuned-adamw": Config(
        optimizer="adamw",
        tuning_seeds=3,
        seeds=10,
        lr=2e-3,
        weight_decay=1.0,
        lrs=(2e-3, 5e-3),
        decays=(0.3, 1.0, 3.0, 10.0),
        vanilla_lrs=(1e-4, 2e-4, 5e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3),
    ),
    # At a learning rate of 0.05 nothing is lost within eight tasks, not even by vanilla.
    "mnist": Config(
        data="mnist",
        tasks=20,
        steps=230,
        lr=0.1,
        weight_decay=0.01,
        sigma_ratios=(0.01, 0.3, 1.0),
    ),
    # The paper names the data and reports a collapse of vanilla after about the sixth task. Its
    # network, optimizer, decay and sigma_0 are not known to us: here as in "mnist", twice as wide.
    # One pass over all 60,000 images a task, and twice as many tasks as vanilla is said to survive.
    "paper": Config(
        data="mnist",
        tasks=12,
        steps=468,
        width=128,
        batch_size=128,
        lr=0.1,
        weight_decay=0.01,
        sigma_ratios=(0.01, 0.3, 1.0),
    ),
}


class Stream:
    """The tasks: the same images, their pixels in another order for each task.

    Called with a step, it returns that step's batch, and remembers the task, which the measures
    then look at. What a step's batch is depends on the step only.

    Parameters
    ----------
    config : Config
        Data, numbers of tasks and steps, batch size and device.
    number : int
        Streams of different numbers have different permutations and batches. Default 0.
    """

    def __init__(self, config: Config, number: int = 0) -> None:
        if config.data == "digits":
            split = data_sets.digits()
        else:
            split = data_sets.mnist(n_train=config.samples or None)
        x, y, x_test, y_test = (t.to(config.device) for t in split)
        if config.samples:
            x, y = x[: config.samples], y[: config.samples]
        self._x, self._y, self._x_test, self.y_test = x, y, x_test, y_test
        self._steps = config.steps
        self._number = number
        self._order = BatchOrder(len(y), config.batch_size, 1_000 + number)
        self._task = -1
        self._go_to(0)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the inputs and labels of a step."""
        self._go_to(step // self._steps)
        index = self._order.at(step).to(self._y.device)
        return self._x[index][:, self.permutation], self._y[index]

    def _go_to(self, task: int) -> None:
        if task != self._task:
            self._task = task
            self.permutation = permutation(self._number, task, self._x.shape[1]).to(self._x.device)
            self.x_test = self._x_test[:, self.permutation]


def permutation(stream: int, task: int, pixels: int) -> Tensor:
    """Return the order of the pixels in a task, which depends on these numbers only."""
    return torch.randperm(pixels, generator=_generator("permutation", stream, task))


def hidden_layers(params: Params, x: Tensor) -> list[Tensor]:
    """Return what the hidden layers of an `mlp` with ReLU give out, (samples, units) each."""
    outputs = []
    for weight, bias in list(_layers(params))[:-1]:
        x = torch.relu(x @ params[weight].mT + params[bias])
        outputs.append(x)
    return outputs


def recycled(params: Params, x: Tensor, tau: float, generator: torch.Generator) -> Params:
    r"""Return parameters with dormant units made anew, as ReDo does (Sokar et al., 2023).

    A unit's score is its mean activation on the batch over that of its layer. One with a score of
    at most `tau` gets new incoming weights, drawn like those of ``nn.Linear``, and outgoing weights
    of zero.

    Parameters
    ----------
    params : mapping of str to Tensor
        Of an `mlp` with ReLU.
    x : Tensor
        A batch of inputs.
    tau : float
        Threshold of the score; 0 means silent units only.
    generator : torch.Generator
        Of the new weights; on the CPU.

    Returns
    -------
    dict of str to Tensor
        New tensors where something changed.
    """
    changed = dict(params)
    names = list(_layers(params))
    for hidden, (weight, bias), (following, _) in zip(
        hidden_layers(params, x), names[:-1], names[1:], strict=True
    ):
        activity = hidden.mean(0)
        dormant = activity <= tau * activity.mean()
        bound = params[weight].shape[1] ** -0.5
        for name in (weight, bias):
            p = changed[name]
            fresh = torch.rand(p.shape, generator=generator, dtype=torch.float64).to(p)
            column = dormant.reshape(-1, *(1,) * (p.ndim - 1))
            changed[name] = torch.where(column, bound * (2 * fresh - 1), p)
        changed[following] = torch.where(dormant, 0.0, changed[following])
    return changed


def redo(stream: Stream, tau: float, every: int) -> Arm:
    """Return ReDo without decay: look for dormant units in the batch of every `every`-th step.

    The original resets the optimizer's moments of these units, too. Here they are kept: between
    steps an arm sees the parameters only.
    """

    def event(params: Params, seed: int, step: int) -> Params:
        x, _ = stream(step - 1)
        return recycled(params, x, tau, _generator("recycled", seed, step))

    return Arm("ReDo", event=event, every=every)


def pull_to_scaled_start(weight_decay: float, scale: float) -> Arm:
    """Return decay centred at `scale` times the initial parameters."""

    def pull(params: Params, seed: int, step: int) -> Pull:
        return Pull(weight_decay, centre={name: scale * p for name, p in params.items()})

    return Arm("pull to start", pull=pull)


def all_alike(params: Params) -> Params:
    """Return the nearest parameters in which all the units of a hidden layer are identical."""
    names = list(_layers(params))
    alike: dict[str, Tensor] = {}
    for k, (weight, bias) in enumerate(names):
        w, b = params[weight], params[bias]
        if k < len(names) - 1:
            w = w.mean(0, keepdim=True).expand_as(w)
            b = b.mean().expand_as(b)
        if k > 0:
            w = w.mean(1, keepdim=True).expand_as(w)
        alike |= {weight: w, bias: b}
    return alike


def compared_arms(config: Config, stream: Stream | None = None) -> list[Arm]:
    """Return the arms at fixed settings: the remedy, its rivals, and the controls.

    Parameters
    ----------
    config : Config
        The settings.
    stream : Stream, optional
        Where ReDo finds its batches. Default: a new one.
    """
    stream = Stream(config) if stream is None else stream
    decay = config.weight_decay
    return [
        arms.vanilla(),
        arms.plain_decay(decay),
        arms.weight_fix(0.1, decay).renamed("W-fix 10%"),
        arms.pull_to_start(decay),
        pull_to_scaled_start(decay, LARGER).renamed("pull to start x1.7"),
        arms.shrink_and_perturb(0.2, 0.1, every=config.steps),
        redo(stream, 0.1, config.steps),
        *(arms.syre(decay, s).renamed(f"syre {s:g}") for s in config.sigma_ratios),
        *_controls(decay, max(config.sigma_ratios)),
    ]


def _controls(decay: float, ratio: float) -> list[Arm]:
    return [
        arms.symmetric_bias(decay, all_alike, ratio),
        arms.resampled_bias(decay, ratio, every=10),
    ]


@dataclass(frozen=True)
class Setting:
    """One setting of an arm that the tuning tries."""

    family: str
    words: str
    lr: float
    arm: Arm
    decay_and_ratio: tuple[float, float] = (0.0, 0.0)


def grid(config: Config, stream: Stream | None = None) -> list[Setting]:
    """Return what the tuning tries: eight settings for every arm.

    The ranges were moved once after a first look, where a rival was best at the edge of its own.

    Parameters
    ----------
    config : Config
        The settings.
    stream : Stream, optional
        Where ReDo finds its batches. Default: a new one.
    """
    stream = Stream(config) if stream is None else stream
    decays, task = config.decays, config.steps
    middle = decays[1:3]
    settings = [Setting("vanilla", "", lr, arms.vanilla()) for lr in config.vanilla_lrs]
    for lr in config.lrs:
        settings += [
            Setting("plain decay", f"decay {d:g}", lr, arms.plain_decay(d)) for d in decays
        ]
        settings += [
            Setting("W-fix", f"share {s:.0%}, decay {d:g}", lr, arms.weight_fix(s, d))
            for s, d in product((0.3, 0.5), middle)
        ]
        settings += [
            Setting(
                "pull to start",
                f"scale {scale:.2g}, decay {d:g}",
                lr,
                pull_to_scaled_start(d, scale),
            )
            for scale, d in product((1.0, LARGER), middle)
        ]
        settings += [
            Setting(
                "shrink and perturb",
                f"shrink {s:g}, perturb {p:g}",
                lr,
                arms.shrink_and_perturb(s, p, every=task),
            )
            for s, p in product((0.1, 0.2), (0.2, 0.4))
        ]
        settings += [
            Setting("ReDo", f"tau {tau:g}, every {every}", lr, redo(stream, tau, every))
            for tau, every in product((0.02, 0.1), (max(1, task // 4), task))
        ]
        settings += [
            Setting("syre", f"sigma {s:g}, decay {d:g}", lr, arms.syre(d, s), (d, s))
            for s, d in product((0.3, 1.0), middle)
        ]
    return settings


def tune(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Run all settings of `grid` with the tuning seeds.

    Parameters
    ----------
    config : Config
        The settings; `tuning_seeds` must be at least 1.
    checkpoints : Path, optional
        As in `run`.

    Returns
    -------
    pandas.DataFrame
        The last step's rows of `run`; `arm` is the setting's number in the grid.
    """
    stream = Stream(config)
    settings = dict(enumerate(grid(config, stream)))
    seeds = range(config.tuning_seeds)
    table = _train_settings(config, stream, settings, seeds, "tuning", checkpoints)
    return table[table.step == table.step.max()]


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train all arms and seeds on all tasks, and measure at the end of each task.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder to keep the run's state in, and to go on from.

    Returns
    -------
    pandas.DataFrame
        One row an arm, seed and task: step; train_loss on the last batch; accuracy on all test
        images of the present task; dead, the share of hidden units that are silent on the first 256
        of them; rank, the effective rank of the last hidden layer on these; norm of all parameters;
        task, counted from 1; late, the mean accuracy of the last five tasks; and kept, the rank
        over the highest rank at the end of any task so far. After a tuning, setting and lr say what
        was chosen, and rows whose arm begins with "tuning" hold all that was tried.
    """
    if config.tuning_seeds:
        return _run_tuned(config, checkpoints)
    stream = Stream(config)
    compared = compared_arms(config, stream)
    file = None if checkpoints is None else checkpoints / "run.pt"
    return train(config, stream, compared, seeds_of(config.seeds), checkpoint=file)


def _run_tuned(config: Config, checkpoints: Path | None) -> pd.DataFrame:
    import pandas as pd

    tried = tune(config, checkpoints)
    stream = Stream(config, number=1)
    settings = grid(config, stream)
    best: dict[str, Setting] = {}
    for k in tried.groupby("arm").late.mean().sort_values(kind="stable").index:
        best[settings[k].family] = settings[k]
    chosen: dict[Any, Setting] = {f: best[f] for f in dict.fromkeys(s.family for s in settings)}
    decay, ratio = best["syre"].decay_and_ratio
    for control in [*_controls(decay, ratio), arms.syre(decay, 0.01).renamed("syre 0.01")]:
        words = f"decay {decay:g}, as syre"
        chosen[control.name] = Setting(control.name, words, best["syre"].lr, control)
    fresh = [config.tuning_seeds + seed for seed in seeds_of(config.seeds)]
    final = _train_settings(config, stream, chosen, fresh, "final", checkpoints)
    names = {k: f"tuning {s.family}: {s.words}, lr {s.lr:g}" for k, s in enumerate(settings)}
    return pd.concat([final, tried.assign(arm=tried.arm.map(names))], ignore_index=True)


def _train_settings(
    config: Config,
    stream: Stream,
    settings: Mapping[Any, Setting],
    seeds: Sequence[int],
    label: str,
    checkpoints: Path | None,
) -> pd.DataFrame:
    """Train settings together that share a learning rate; `arm` is their key."""
    import pandas as pd

    tables = []
    for lr in sorted({s.lr for s in settings.values()}):
        keys = {str(key): key for key, s in settings.items() if s.lr == lr}
        alike = [settings[key].arm.renamed(name) for name, key in keys.items()]
        file = None if checkpoints is None else checkpoints / f"{label} lr {lr:g}.pt"
        table = train(config, stream, alike, seeds, lr, file)
        table["arm"] = table.arm.map(keys)
        tables.append(table.assign(lr=lr, setting=table.arm.map(lambda k: settings[k].words)))
    return pd.concat(tables, ignore_index=True)


def train(
    config: Config,
    stream: Stream,
    compared: Sequence[Arm],
    seeds: Sequence[int],
    lr: float | None = None,
    checkpoint: Path | None = None,
) -> pd.DataFrame:
    """Train given arms on a stream of tasks.

    Parameters
    ----------
    config : Config
        The settings; those of the arms and the number of seeds do not count.
    stream : Stream
        The tasks.
    compared : sequence of Arm
        What to train.
    seeds : sequence of int
        A seed sets initial weights and the arms' random numbers, not the tasks.
    lr : float, optional
        Default: that of `config`.
    checkpoint : Path, optional
        A file to keep the state in, and to go on from.

    Returns
    -------
    pandas.DataFrame
        As `run` returns it.
    """
    rate = config.lr if lr is None else lr
    pixels = len(stream.permutation)
    widths = [pixels, *[config.width] * config.layers, 10]

    def make_optimizer(params: list[Tensor]) -> torch.optim.Optimizer:
        if config.optimizer == "adamw":
            return torch.optim.AdamW(params, lr=rate, weight_decay=0)
        return torch.optim.SGD(params, lr=rate, momentum=config.momentum)

    def hidden(params: Params) -> list[Tensor]:
        return hidden_layers(params, stream.x_test[:256])

    def accuracy(params: Params, predict: Callable[..., Tensor]) -> Tensor:
        # In parts, so that the activations of all models fit into memory.
        answers = [predict(x).argmax(-1) for x in stream.x_test.split(2000)]
        return (torch.cat(answers) == stream.y_test).double().mean()

    def rank(params: Params, predict: Callable[..., Tensor]) -> Tensor:
        # A network that has diverged has no features left; the others go on.
        return effective_rank(hidden(params)[-1].nan_to_num(0.0, 0.0, 0.0))

    table = fit_many(
        lambda: mlp(widths, "relu"),
        stream,
        compared,
        seeds,
        steps=config.tasks * config.steps,
        loss=torch.nn.functional.cross_entropy,
        optimizer=make_optimizer,
        coupled=config.optimizer == "sgd",
        measures={
            "accuracy": accuracy,
            "dead": lambda p, _: torch.stack([dead_fraction(h, 0) for h in hidden(p)]).mean(),
            "rank": rank,
            "norm": lambda p, _: torch.stack([v.square().sum() for v in p.values()]).sum().sqrt(),
        },
        log_every=config.steps,
        device=config.device,
        checkpoint=checkpoint,
        checkpoint_every=config.steps,
    )
    table = table[table.step > 0].reset_index(drop=True)
    table["task"] = table.step // config.steps
    runs = table.groupby(["arm", "seed"])
    table["late"] = runs.accuracy.transform(lambda a: a.rolling(LATE, min_periods=1).mean())
    table["kept"] = table["rank"] / runs["rank"].cummax()
    return table


def _layers(params: Params) -> Sequence[tuple[str, str]]:
    """Return the names of weight and bias of all layers, in order."""
    numbers = sorted({int(name.split(".")[0]) for name in params})
    return [(f"{k}.weight", f"{k}.bias") for k in numbers]


def _generator(*key: object) -> torch.Generator:
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def _best(last: pd.DataFrame, arm: str) -> str:
    """Return which of an arm's settings has the best score: "syre 1" for "syre", for example."""
    late = last.late.groupby("arm").mean()
    return str(late[[a for a in late.index if a == arm or a.startswith(f"{arm} ")]].idxmax())


def _late(last: pd.DataFrame, arm: str) -> pd.Series:
    return last.late[_best(last, arm)]


def _graded(values: pd.Series, full: float, part: float) -> bool | None:
    """Return True for a mean of at least `full`, None for at least `part`, else False."""
    return True if values.mean() >= full else None if values.mean() >= part else False


CLAIMS = (
    Claim(
        text="Without any decay, the features lose their rank over the tasks.",
        paper="vanilla collapses after about the sixth task",
        measure=lambda last: last.kept["vanilla"],
        unit="rank of the features at the end over its highest value before",
        holds=lambda values: _graded(-values, -0.5, -0.75),
        comment="The rank falls task by task; accuracy falls with it.",
    ),
    Claim(
        text="Under syre the features keep their rank.",
        paper="syre stays near full rank",
        measure=lambda last: last.kept[_best(last, "syre")],
        unit="rank of the features at the end over its highest value before",
        holds=lambda values: _graded(values, 0.85, 0.7),
        comment="For the best sigma_0 tried, which is as large as the initial weights themselves.",
    ),
    Claim(
        text="At its default sigma_0 of 0.01 syre learns the last tasks better than plain decay.",
        paper="its sigma_0 is not known",
        measure=lambda last: last.late["syre 0.01"] - _late(last, "plain decay"),
        unit="accuracy on the last five tasks, minus that of plain decay",
        holds=lambda values: _graded(values, 0.04, 0.02),
        comment="A bias this small leaves saddles, but decay swallows the network all the same.",
    ),
    Claim(
        text="With a large bias, syre still learns well after many tasks.",
        paper="shown in a figure",
        measure=lambda last: _late(last, "syre"),
        unit="accuracy on the last five tasks",
        holds=lambda values: _graded(values, 0.92, 0.85) if values.min() >= 0.8 else False,
        comment="Accuracy at the end of each task, on test images.",
    ),
    Claim(
        text="With a large bias, syre learns the last tasks better than plain decay.",
        paper="no such control",
        measure=lambda last: _late(last, "syre") - _late(last, "plain decay"),
        unit="accuracy on the last five tasks, minus that of plain decay",
        holds=lambda values: _graded(values, 0.04, 0.02) if values.min() > 0 else False,
        comment=(
            "After equal tuning in the tuned runs. In the others the best of three sigma_0 stands "
            "against one plain decay."
        ),
    ),
    Claim(
        text="A pull back to the initial weights does as well as syre.",
        paper="no such control",
        measure=lambda last: _late(last, "pull to start") - _late(last, "syre"),
        unit="accuracy on the last five tasks, minus that of syre",
        holds=lambda values: _graded(values, -0.02, -0.06),
        comment=(
            "If its centre is as large as syre's, so what helps is a centre of full size; on MNIST "
            "one that is drawn anew every ten steps does as well."
        ),
    ),
    Claim(
        text="A bias of the same norm that respects the symmetry does not help.",
        paper="no such control",
        measure=lambda last: last.late["symmetric bias"],
        unit="accuracy on the last five tasks",
        holds=lambda values: _graded(-values, -0.5, -0.7),
        comment="All units of a layer are pulled to the same place.",
    ),
)
