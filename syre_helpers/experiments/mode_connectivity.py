r"""Mode connectivity: the loss between two networks that were trained independently.

Two networks of a pair start from different initial values and see different batches. Their units
come out in different orders, so the straight line between them leads over a barrier. A remedy that
breaks the symmetry in the **same** way for both could make them agree on the order. Controls: a
bias that is not shared, one that is shared and respects the symmetry, and other shared centres.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .. import data, models
from ..data import DataSplit
from ..measures import loss_barrier
from ..models.resnet import ResidualBlock
from ..removal import Arm, Pull, arms
from ..symmetry.layers import HiddenLayer, Slab, hidden_layer
from ..training import fit_many
from ..training.batches import BatchOrder
from ..training.options import Measure, made_with_seed
from ._claims import Claim
from ._common import Seeds, seeds_of
from ._each import fit_each

if TYPE_CHECKING:
    import pandas as pd

State = Mapping[str, Tensor]
_CHUNK = 1000  # images at once
_RESET_IMAGES = 2000  # as many make the statistics of a BatchNorm
_THIRD = 1_000_000  # seeds of the third networks: far from those of all pairs


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Parameters
    ----------
    data : {"digits", "mnist", "cifar10", "cifar10_jpeg"}
        The images.
    n_train, n_test : int, optional
        How many of them; default: all. Without a meaning for digits.
    network : {"mlp", "conv", "resnet18"}
        A ReLU network with one or more hidden layers, a small convolutional network with BatchNorm,
        or a ResNet-18.
    widths : tuple of int
        Units of each hidden layer, channels of each block, or channels of the first stage.
    weight_decay : float
        PyTorch's, coupled; gamma is half of it. Default 0.02.
    sigma_ratios : tuple of float
        Strengths of syre with a shared ``theta_0``, in units of each layer's ``1 / sqrt(fan_in)``;
        the largest is used for the controls. Must hold 0.01 and 1.
    fix_shares : tuple of float
        Shares of W-fix, with the same frozen weights in both networks; must hold 0.5.
    lr, momentum, batch_size, steps
        Of stochastic gradient descent. Defaults 0.15, 0.9, 32 and 400.
    anneal : bool
        Whether the learning rate falls to 0 as half a cosine. Default False.
    points : int
        How many points of the line are tried. Default 25.
    seeds : int or tuple of int
        Number of pairs of networks, counted from 0, or the seeds themselves. Default 8.
    device : str
        Default "cpu".
    """

    data: Literal["digits", "mnist", "cifar10", "cifar10_jpeg"] = "digits"
    n_train: int | None = None
    n_test: int | None = None
    network: Literal["mlp", "conv", "resnet18"] = "mlp"
    widths: tuple[int, ...] = (48,)
    weight_decay: float = 2e-2
    sigma_ratios: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0)
    fix_shares: tuple[float, ...] = (0.1, 0.3, 0.5)
    lr: float = 0.15
    momentum: float = 0.9
    batch_size: int = 32
    steps: int = 400
    anneal: bool = True
    points: int = 11
    seeds: Seeds = 8
    device: str = "cpu"


PRESETS = {
    "quick": Config(),
    # A tenth of the decay, which takes ten times as many steps to forget the initial values ...
    "quick-weak": Config(weight_decay=2e-3),
    # ... and is given them.
    "quick-patient": Config(weight_decay=2e-3, steps=4000),
    "batchnorm": Config(
        network="conv",
        widths=(8, 16),
        sigma_ratios=(0.01, 1.0),
        fix_shares=(0.5,),
        steps=600,
    ),
    "mnist": Config(
        data="mnist",
        n_train=20_000,
        widths=(128,),
        lr=0.05,
        batch_size=64,
        steps=1000,
    ),
    # The paper has no such experiment. Lim et al. (2024) connect residual networks on CIFAR-10; the
    # network here is this paper's ResNet-18, with BatchNorm. Chosen for this book: schedule and
    # decay, which are usual ones; no augmentation; 8 pairs.
    "paper": Config(
        data="cifar10",
        network="resnet18",
        widths=(64,),
        weight_decay=1e-3,
        batch_size=128,
        lr=0.1,
        steps=40_000,
    ),
}


def shared(arm: Arm) -> Arm:
    """Return an arm that does the same to both networks of a pair: seeds 2k and 2k + 1.

    Examples
    --------
    >>> import torch
    >>> p = {"weight": torch.zeros(2, 2)}
    >>> pull = shared(arms.syre(0.1)).pull
    >>> bool((pull(p, 6, 0).centre["weight"] == pull(p, 7, 0).centre["weight"]).all())
    True
    """
    start = arm.start
    return replace(
        arm,
        pull=lambda params, seed, step: arm.pull(params, seed // 2, step),
        start=None if start is None else lambda params, seed: start(params, seed // 2),
    )


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms of the experiment: the remedy, its rivals, and the controls."""
    decay, strongest = config.weight_decay, max(config.sigma_ratios)
    return [
        arms.vanilla(),
        arms.plain_decay(decay),
        *(shared(arms.weight_fix(s, decay)).renamed(f"W-fix {s:.0%}") for s in config.fix_shares),
        *(shared(arms.syre(decay, s)).renamed(f"syre {s:g}") for s in config.sigma_ratios),
        arms.syre(decay, strongest).renamed(f"syre {strongest:g}, not shared"),
        *_symmetric(config, strongest),
        arms.pull_to_start(decay),
        _pull_to_third(config),
        _same_start(config),
    ]


def _symmetric(config: Config, sigma_ratio: float) -> list[Arm]:
    """Return syre with a shared bias that is the same for all units of a layer."""
    layers = hidden_layers(_template(config))
    if not layers:
        return []

    def equal_units(params: State) -> dict[str, Tensor]:
        params = dict(params)
        for layer in layers:
            for name, slab in _parameter_slabs(layer, params).items():
                units = _by_unit(params[name], slab, layer.width)
                alike = units.mean(0, keepdim=True).expand_as(units)
                params[name] = _from_units(alike, params[name], slab)
        return params

    return [shared(arms.symmetric_bias(config.weight_decay, equal_units, sigma_ratio))]


def _pull_to_third(config: Config) -> Arm:
    """Return a pull to the initial values of a third network, the same for both of a pair."""

    def pull(params: State, seed: int, step: int) -> Pull:
        return Pull(config.weight_decay, centre=_initial(config, _THIRD + seed // 2, params))

    return Arm("pull to a third", pull=pull)


def _same_start(config: Config) -> Arm:
    """Return plain decay of networks that start from the same values and see different batches."""

    def start(params: State, seed: int) -> dict[str, Tensor]:
        return _initial(config, seed - seed % 2, params)

    return replace(arms.plain_decay(config.weight_decay), name="same start", start=start)


def _initial(config: Config, seed: int, like: State) -> dict[str, Tensor]:
    model = _template(config, seed)
    return {name: p.detach().to(like[name]) for name, p in model.named_parameters()}


def one_by_one(config: Config) -> bool:
    """Return whether `fit` trains the models, one by one, so that processes may share the work."""
    return config.network != "mlp"


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train both networks of all pairs in all arms, and measure the barrier between them.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder to keep the run's state in, and to go on from.

    Returns
    -------
    pandas.DataFrame
        One row an arm and pair (column seed), of the last step: train_loss (of the last batch for
        networks with BatchNorm), test_loss and accuracy are means of the two networks; barrier is
        that of the test loss; apart is the squared distance, as a share of the sum of the squared
        norms: 0 for equal networks, about 1 for unrelated ones; aligned is the barrier after the
        units of one network have been put in the order of the other's (the barrier itself for a
        ResNet, whose units are not put in order).
    """
    import pandas as pd

    split = DataSplit(*(t.to(config.device) for t in _load(config)))
    table, states = _train(config, split, checkpoints)
    model = _template(config).to(config.device).eval()
    layers = hidden_layers(model)
    loss = _loss_on(model, split)
    reset = reset_statistics(model, split.x_train[:_RESET_IMAGES])
    rows = []
    for arm in compared_arms(config):
        for k in seeds_of(config.seeds):
            a, b = (_on(config.device, states[arm.name, seed]) for seed in (2 * k, 2 * k + 1))

            def barrier(end: State, a: State = a) -> float:
                return loss_barrier(loss, dict(a), dict(end), points=config.points, reset=reset)

            found = barrier(b)
            rows.append(
                {
                    "arm": arm.name,
                    "seed": k,
                    "barrier": found,
                    "aligned": barrier(align(layers, a, b)) if layers else found,
                    "apart": apart(model, a, b),
                }
            )
    last = table[table.step == config.steps].assign(seed=table.seed // 2)
    ends = last.groupby(["arm", "seed"], sort=False).mean().reset_index()
    return ends.merge(pd.DataFrame(rows), on=["arm", "seed"])


def _train(
    config: Config, split: DataSplit, checkpoints: Path | None
) -> tuple[pd.DataFrame, dict[tuple[str, int], dict[str, Tensor]]]:
    """Return the table of all networks, and their trained parameters and buffers."""
    import pandas as pd

    settings: dict[str, Any] = {
        "steps": config.steps,
        "loss": nn.functional.cross_entropy,
        "optimizer": lambda p: torch.optim.SGD(p, lr=config.lr, momentum=config.momentum),
        "schedule": _cosine(config.steps) if config.anneal else None,
        "device": config.device,
        "checkpoint_every": max(1, config.steps // 10),
    }
    compared = compared_arms(config)
    seeds = [seed for k in seeds_of(config.seeds) for seed in (2 * k, 2 * k + 1)]
    measures = {"accuracy": _accuracy(split)}
    if not one_by_one(config):
        return fit_many(
            lambda: _network(config),
            split,
            compared,
            seeds,
            batch_size=config.batch_size,
            measures=measures,
            checkpoint=None if checkpoints is None else checkpoints / "mode_connectivity.pt",
            return_params=True,
            **settings,
        )
    tables = []
    states: dict[tuple[str, int], dict[str, Tensor]] = {}
    for seed in seeds:
        # Batches as a function: the loss on all training images at once would not fit in memory.
        table, trained = fit_each(
            lambda: _network(config),
            _batches(split, config.batch_size, seed),
            compared,
            [seed],
            measures={"test_loss": _test_loss(split), **measures},
            checkpoints=checkpoints,
            **settings,
        )
        tables.append(table)
        states |= {key: model.cpu().state_dict() for key, model in trained.items()}
    return pd.concat(tables, ignore_index=True), states


def _batches(
    split: DataSplit, batch_size: int, seed: int
) -> Callable[[int], tuple[Tensor | None, Tensor]]:
    order = BatchOrder(len(split.y_train), batch_size, seed)

    def batch(step: int) -> tuple[Tensor | None, Tensor]:
        index = order.at(step).to(split.y_train.device)
        return split.x_train[index], split.y_train[index]

    return batch


def _accuracy(split: DataSplit) -> Measure:
    def accuracy(params: object, predict: Callable[[Tensor], Tensor]) -> Tensor:
        right = [(predict(x).argmax(1) == y).float() for x, y in _chunks(split)]
        return torch.cat(right).mean()

    return accuracy


def _test_loss(split: DataSplit) -> Measure:
    def test_loss(params: object, predict: Callable[[Tensor], Tensor]) -> Tensor:
        total = [
            nn.functional.cross_entropy(predict(x), y, reduction="sum") for x, y in _chunks(split)
        ]
        return torch.stack(total).sum() / len(split.y_test)

    return test_loss


def _chunks(split: DataSplit) -> list[tuple[Tensor, Tensor]]:
    """Return the test images and labels in parts that fit in memory."""
    xs, ys = split.x_test.split(_CHUNK), split.y_test.split(_CHUNK)
    return list(zip(xs, ys, strict=True))


def _load(config: Config) -> DataSplit:
    if config.data == "digits":
        return data.digits()
    loaders = {
        "mnist": data.mnist,
        "cifar10": data.cifar10,
        "cifar10_jpeg": data.cifar10_jpeg,
    }
    return loaders[config.data](config.n_train, config.n_test)


def _network(config: Config) -> nn.Module:
    if config.network == "resnet18":
        return models.resnet18(width=config.widths[0])
    if config.network == "conv":
        return models.conv_net(config.widths)
    pixels = 784 if config.data == "mnist" else 64
    return models.mlp([pixels, *config.widths, 10], "relu")


def _template(config: Config, seed: int = 0) -> nn.Module:
    """Return a new network, and leave the caller's random state alone."""
    return made_with_seed(lambda: _network(config), seed)


def _cosine(steps: int) -> Callable[[int], float]:
    return lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))


def _on(device: str, state: State) -> dict[str, Tensor]:
    return {name: p.to(device) for name, p in state.items()}


def _loss_on(model: nn.Module, split: DataSplit) -> Callable[[State], Tensor]:
    """Return the mean test loss of a state."""
    test_loss = _test_loss(split)
    return lambda state: test_loss(state, lambda x: functional_call(model, dict(state), x))


def reset_statistics(model: nn.Module, x: Tensor) -> Callable[[State], State] | None:
    """Return what gives a state BatchNorm statistics of its own; None for a model without any.

    Parameters
    ----------
    model : nn.Module
        A network; not changed.
    x : Tensor
        Inputs to take the statistics over.

    Returns
    -------
    callable or None
        Maps a state to one with the same parameters, and running statistics that are the averages
        over the inputs: the ``reset`` of `syre_helpers.loss_barrier`.
    """
    worker = copy.deepcopy(model)
    norms = [m for m in worker.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return None

    def reset(state: State) -> State:
        worker.load_state_dict(dict(state))
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the chunks
        worker.train()
        with torch.no_grad():
            for part in x.split(_CHUNK):
                worker(part)
        return {name: value.clone() for name, value in worker.state_dict().items()}

    return reset


def apart(model: nn.Module, a: State, b: State) -> float:
    """Return the squared distance of two parameter vectors over the sum of their squared norms."""
    names = [name for name, _ in model.named_parameters()]
    distance = sum(float((a[n] - b[n]).double().square().sum()) for n in names)
    norms = sum(float(p[n].double().square().sum()) for p in (a, b) for n in names)
    return distance / norms


def hidden_layers(model: nn.Module) -> list[HiddenLayer]:
    """Return the hidden layers of a plain ``nn.Sequential``; none for other networks."""
    if not isinstance(model, nn.Sequential) or any(
        isinstance(m, ResidualBlock) for m in model.modules()
    ):
        return []
    named = model.named_modules()
    names = [name for name, m in named if isinstance(m, (nn.Linear, nn.Conv2d))]
    return [hidden_layer(model, name, None, None) for name in names[:-1]]


def align(layers: list[HiddenLayer], a: State, b: State, rounds: int = 20) -> dict[str, Tensor]:
    """Put the hidden units of a network in the order of another's, which changes no output.

    Parameters
    ----------
    layers : list
        From `hidden_layers`.
    a, b : mapping of str to Tensor
        States of two networks.
    rounds : int
        At most so many passes over the layers. Default 20. With one hidden layer the first finds
        the nearest of all orders; with more it is a descent.

    Returns
    -------
    dict of str to Tensor
        `b`, with its units in another order.

    References
    ----------
    Ainsworth, Hayase and Srinivasa, "Git Re-Basin", ICLR 2023: matching weights.
    """
    from scipy.optimize import linear_sum_assignment

    b = dict(b)
    for _ in range(rounds):
        moved = False
        for layer in layers:
            slabs = _parameter_slabs(layer, a)
            likeness = sum(
                _by_unit(a[n], s, layer.width).double() @ _by_unit(b[n], s, layer.width).double().T
                for n, s in slabs.items()
            )
            assert isinstance(likeness, Tensor)
            _, best = linear_sum_assignment(likeness.cpu().numpy(), maximize=True)
            order = torch.as_tensor(best, device=likeness.device)
            place = torch.arange(layer.width, device=likeness.device)
            if float(likeness[place, order].sum() - likeness.trace()) > 1e-9:
                moved = True
                b |= {n: _from_units(_by_unit(b[n], s, layer.width)[order], b[n], s)
                      for n, s in _all_slabs(layer, b).items()}  # fmt: skip
        if not moved:
            break
    return b


def _all_slabs(layer: HiddenLayer, state: State) -> dict[str, Slab]:
    slabs = {**layer.incoming, **layer.norm, **layer.outgoing}
    return {name: slab for name, slab in slabs.items() if name in state}


def _parameter_slabs(layer: HiddenLayer, state: State) -> dict[str, Slab]:
    """Leave out running statistics, which are not what a network is made of."""
    slabs = _all_slabs(layer, state)
    return {n: s for n, s in slabs.items() if not n.endswith(("running_mean", "running_var"))}


def _by_unit(tensor: Tensor, slab: Slab, width: int) -> Tensor:
    """Return what each unit owns as a row: (units, entries)."""
    return tensor.movedim(slab.axis, 0).reshape(width, -1)


def _from_units(rows: Tensor, like: Tensor, slab: Slab) -> Tensor:
    """Undo `_by_unit`."""
    return rows.reshape(like.movedim(slab.axis, 0).shape).movedim(0, slab.axis)


def _over_decay(arm: str, column: str = "barrier") -> Callable[[pd.DataFrame], pd.Series]:
    """Return the measure: an arm's barrier over that of plain decay, pair by pair."""
    return lambda last: last[column][arm] / last["barrier"]["plain decay"]


def _halved(values: pd.Series) -> bool | None:
    """Tell whether it is halved in every pair; None: lower by more than a fifth, on average."""
    if (values < 0.5).all():
        return True
    return None if values.mean() < 0.8 else False


def _kept(values: pd.Series) -> bool:
    """Tell whether the barrier is lower by less than a fifth, on average."""
    return bool(values.mean() > 0.8)


_UNIT = "barrier over that of plain decay"
_ASKED = "asked for by a reviewer, not reported"
_NO_CONTROL = "no such control"
_CLAIMS_WITH_UNITS = ("quick", "batchnorm", "mnist")

CLAIMS: tuple[Claim, ...] = (
    Claim(
        text="Two networks trained independently with plain decay have a barrier above 0.1, in "
        "every pair.",
        paper="Lim et al. (2024): standard networks are not connected",
        measure=lambda last: last["barrier"]["plain decay"],
        unit="barrier in the test loss",
        holds=lambda values: bool((values > 0.1).all()),
        comment="The networks differ in their initial values and their batches.",
    ),
    Claim(
        text="The barrier is a matter of the units' order: putting them in order at least halves "
        "it, in every pair.",
        paper=_NO_CONTROL,
        measure=_over_decay("plain decay", "aligned"),
        unit=_UNIT,
        holds=_halved,
        comment="This needs no change of training, and is the yardstick for what follows.",
        presets=_CLAIMS_WITH_UNITS,
    ),
    Claim(
        text="syre of the default strength lowers the barrier by less than a fifth.",
        paper=_ASKED,
        measure=_over_decay("syre 0.01"),
        unit=_UNIT,
        holds=_kept,
        comment="It is strong enough to leave a mirror plane, not to choose among orders.",
    ),
    Claim(
        text="syre a hundred times stronger, with a shared theta_0, at least halves the barrier, "
        "in every pair.",
        paper=_ASKED,
        measure=_over_decay("syre 1"),
        unit=_UNIT,
        holds=_halved,
        comment="The pull then holds both networks near one point, which is more than symmetry.",
    ),
    Claim(
        text="The same syre without a shared theta_0 lowers the barrier by less than a fifth.",
        paper=_NO_CONTROL,
        measure=_over_decay("syre 1, not shared"),
        unit=_UNIT,
        holds=_kept,
        comment="Each network has no symmetry left, but they break it in different ways.",
    ),
    Claim(
        text="A shared bias that respects the symmetry lowers the barrier by less than a fifth.",
        paper=_NO_CONTROL,
        measure=_over_decay("symmetric bias"),
        unit=_UNIT,
        holds=_kept,
        comment="A common centre alone is not enough: it must tell the units apart.",
        presets=_CLAIMS_WITH_UNITS,
    ),
    Claim(
        text="Another shared centre that tells the units apart, a third network's initial values, "
        "at least halves the barrier, in every pair.",
        paper=_NO_CONTROL,
        measure=_over_decay("pull to a third"),
        unit=_UNIT,
        holds=_halved,
        comment="Lower on average in each run, but not halved in each pair. These values are 0.58 "
        "as large as the theta_0 of strong syre, and nothing in them is special to syre.",
    ),
    Claim(
        text="W-fix of half of the weights, the same in both, at least halves the barrier, in "
        "every pair.",
        paper="Lim et al. (2024): such networks are connected",
        measure=_over_decay("W-fix 50%"),
        unit=_UNIT,
        holds=_halved,
        comment="The frozen weights take accuracy, too, and most with BatchNorm.",
    ),
    Claim(
        text="Strong syre costs less than half a point of accuracy against plain decay.",
        paper=_ASKED,
        measure=lambda last: last["accuracy"]["syre 1"] - last["accuracy"]["plain decay"],
        unit="difference of accuracies",
        holds=lambda values: bool(values.mean() > -0.005),
        comment="Without BatchNorm the decay has a price of its own: vanilla is more accurate.",
    ),
    Claim(
        text="At a tenth of the decay, in as many steps, strong syre lowers the barrier by less "
        "than a fifth.",
        paper=_NO_CONTROL,
        measure=_over_decay("syre 1"),
        unit=_UNIT,
        holds=_kept,
        comment="The pull has not had the time to move the networks from where they started.",
        presets=("quick-weak",),
    ),
    Claim(
        text="At a tenth of the decay, in ten times as many steps, it at least halves the barrier, "
        "in every pair.",
        paper=_NO_CONTROL,
        measure=_over_decay("syre 1"),
        unit=_UNIT,
        holds=_halved,
        comment="Halved on average, not in every pair. What counts is the decay times the sum of "
        "the learning rates, and the data.",
        presets=("quick-patient",),
    ),
)
