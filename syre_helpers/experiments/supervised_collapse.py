"""Collapse of a classifier's features under growing weight decay, and what a rank says about it.

Decay shrinks directions of the features that the labels do not need, and with much decay some that
they need. Each strength of syre stands beside a control: plain decay, to whose trained weights the
same theta_0 is added when training is over. What the control has too is no effect on training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from .. import data as datasets
from ..data import DataSplit
from ..measures import effective_rank, numerical_rank
from ..models import mlp, vit
from ..removal import Arm, arms
from ..training import fit_many
from ..training.batches import BatchOrder
from ._claims import Claim
from ._common import Seeds, seeds_of
from ._each import fit_each

if TYPE_CHECKING:
    import pandas as pd

Params = Mapping[str, Tensor]
Trained = dict[tuple[str, int], dict[str, Tensor]]
_CONTROL = "bias added after"


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Parameters
    ----------
    data : {"digits", "mnist", "cifar10", "cifar10_jpeg"}
        Default "digits". CIFAR-10 is for the vision transformer, the others for the perceptron.
    n_train, n_test : int, optional
        How many images. Default: all.
    input_scale : float
        What the normalised inputs are multiplied by. Default 1.
    model : {"mlp", "vit"}
        Default "mlp": fully connected, ReLU.
    hidden : tuple of int
        Hidden layers of the perceptron. Default two of 64 units.
    dim, depth : int
        Size of the transformer. Defaults 128 and 6.
    decays : tuple of float
        Weight decays to compare, as PyTorch's; gamma is half of it.
    sigma_ratios, fix_share
        Strengths of syre, which are also those of the control, and the share of W-fix.
    optimizer : {"sgd", "adam"}
        Default "sgd", with momentum 0.9 and coupled decay; decay is decoupled with "adam".
    lr, batch_size, steps
        Defaults 0.05, 32 and 400.
    rank_samples : int
        Test images whose features are measured. Default 450.
    seeds : int or tuple of int
        Number of seeds, counted from 0, or the seeds themselves. Default 8.
    device : str
        Default "cpu".
    """

    data: Literal["digits", "mnist", "cifar10", "cifar10_jpeg"] = "digits"
    n_train: int | None = None
    n_test: int | None = None
    input_scale: float = 1.0
    model: Literal["mlp", "vit"] = "mlp"
    hidden: tuple[int, ...] = (64, 64)
    dim: int = 128
    depth: int = 6
    decays: tuple[float, ...] = (0.02, 0.05, 0.1)
    sigma_ratios: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0)
    fix_share: float = 0.1
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.05
    batch_size: int = 32
    steps: int = 400
    rank_samples: int = 450
    seeds: Seeds = 8
    device: str = "cpu"


# Of the paper's experiments we know the data, that MNIST is rescaled, that decay grows, and that
# ranks and accuracies are compared. The factor of the scale, widths, schedules, and the values of
# the decay are chosen here.
PRESETS = {
    "quick": Config(),
    "mnist": Config(
        data="mnist",
        n_train=20_000,
        n_test=5_000,
        input_scale=0.5,
        decays=(0.01, 0.03, 0.06, 0.1),
        batch_size=64,
        steps=1500,
        rank_samples=1000,
    ),
    "paper": Config(
        data="mnist",
        input_scale=0.5,
        hidden=(128, 128),
        decays=(0.01, 0.03, 0.06, 0.1),
        batch_size=128,
        steps=2340,
        rank_samples=1000,
    ),
    "paper-vit": Config(
        data="cifar10",
        model="vit",
        decays=(0.05, 0.5, 2.0),
        sigma_ratios=(0.01, 0.3),
        optimizer="adam",
        lr=5e-4,
        batch_size=128,
        steps=39_000,
        rank_samples=1000,
    ),
}


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms that are trained; the controls are made of plain decay when it is."""
    return [arm for decay in (0.0, *config.decays) for arm in _trained_arms(config, decay)]


def one_by_one(config: Config) -> bool:
    """Return whether `fit` trains the models, one by one, so that processes may share the work."""
    return config.model != "mlp"


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train all arms, decays and seeds, and measure accuracy and ranks of the last features.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder in which an interrupted run leaves its state, and finds it again.

    Returns
    -------
    pandas.DataFrame
        As from `train`.
    """
    return train(config, checkpoints)[0]


def train(config: Config, checkpoints: Path | None = None) -> tuple[pd.DataFrame, Trained]:
    """Do as `run`, and return the parameters too.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        As in `run`.

    Returns
    -------
    pandas.DataFrame
        One row an arm and seed, after the last step. Columns arm (as "syre 0.3, 0.02": the number
        behind the comma is the decay), seed, step, weight_decay, train_loss, test_loss (mean cross
        entropies), accuracy (on the test images), effective_rank and rank of the features of the
        last hidden layer, and used, the number of their directions that the readout needs: see
        `used_directions`.
    dict
        Trained parameters by (arm, seed), those of the controls included.
    """
    import pandas as pd

    data = _load(config)
    fit = _fit_each if one_by_one(config) else _fit_stacked
    trained: Trained = {}
    rows: list[dict[str, object]] = []
    for decay in (0.0, *config.decays):
        params = fit(config, data, _trained_arms(config, decay), checkpoints, decay)
        if decay:
            params |= _added_afterwards(config, decay, params)
        names = dict.fromkeys(name for name, _ in params)  # arm by arm, also where runs are not
        for name in names:
            for seed in seeds_of(config.seeds):
                row: dict[str, object] = {"arm": name, "seed": seed, "step": config.steps}
                row |= {"weight_decay": decay, **_measured(config, data, params[name, seed])}
                rows.append(row)
        trained |= params
    return pd.DataFrame(rows), trained


def features(params: Params, model: nn.Sequential, x: Tensor) -> Tensor:
    """Return what the model's last layer reads, shape (samples, units)."""
    body = model[:-1]
    own = {name: params[name] for name, _ in body.named_parameters()}
    output: Tensor = functional_call(body, own, (x,))
    return output


def used_directions(
    x: Tensor, weight: Tensor, bias: Tensor, y: Tensor, tolerance: float = 0.01
) -> Tensor:
    """Return how many of the features' principal directions the readout needs.

    That is the least k such that with the k largest singular directions of the features, or with
    more of them, the accuracy is at most `tolerance` below that with all.

    Parameters
    ----------
    x : Tensor
        Features, (samples, units).
    weight, bias : Tensor
        Of the readout, (classes, units) and (classes,).
    y : Tensor
        Labels, (samples,).
    tolerance : float
        Default 0.01.

    Returns
    -------
    Tensor
        From 0 to the number of singular values.

    Examples
    --------
    >>> x = torch.tensor([[2.0, 1e-3], [-2.0, 1e-3], [2.0, -1e-3]])
    >>> weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> used_directions(x, weight, torch.zeros(2), torch.tensor([0, 1, 0])).item()
    1
    """
    left, values, right = torch.linalg.svd(x, full_matrices=False)
    shares = (left * values).unsqueeze(-1) * (right @ weight.mT)  # (samples, directions, classes)
    logits = torch.cat([torch.zeros_like(shares[:, :1]), shares.cumsum(1)], 1) + bias
    accuracy = (logits.argmax(-1) == y.unsqueeze(-1)).to(x.dtype).mean(0)
    enough = accuracy >= accuracy[-1] - tolerance
    return len(enough) - enough.flip(0).to(torch.int64).cumprod(0).sum()


def _trained_arms(config: Config, decay: float) -> list[Arm]:
    if not decay:
        return [arms.vanilla()]
    compared = [
        arms.plain_decay(decay),
        arms.weight_fix(config.fix_share, decay).renamed(f"W-fix {config.fix_share:.0%}"),
        *(arms.syre(decay, ratio).renamed(f"syre {ratio:g}") for ratio in config.sigma_ratios),
    ]
    return [arm.renamed(f"{arm.name}, {decay:g}") for arm in compared]


def _load(config: Config) -> DataSplit:
    if config.data == "digits":
        split = datasets.digits()
    else:
        split = getattr(datasets, config.data)(config.n_train, config.n_test)
    scaled = {k: config.input_scale * getattr(split, k) for k in ("x_train", "x_test")}
    return split._replace(**scaled)


def _model(config: Config, data: DataSplit) -> nn.Sequential:
    if config.model == "vit":
        channels, height, width = data.x_train.shape[1:]
        return vit((channels, height, width), dim=config.dim, depth=config.depth)
    return mlp([data.x_train.shape[1], *config.hidden, 10], "relu")


@torch.no_grad()
def _measured(config: Config, data: DataSplit, params: Params) -> dict[str, float]:
    """Return all measures of one trained model."""
    model = _model(config, data).to(config.device).eval()
    model.load_state_dict({n: p.to(config.device) for n, p in params.items()})

    def output(x: Tensor) -> Tensor:
        # in parts: a transformer's activations on all images would not fit into memory
        return torch.cat([model(part.to(config.device)).cpu() for part in x.split(1000)])

    logits = output(data.x_test)
    *_, readout = model
    y = data.y_test[: config.rank_samples].to(config.device)
    x = features(dict(model.named_parameters()), model, data.x_test[: len(y)].to(config.device))
    assert isinstance(readout, nn.Linear)
    return {
        "train_loss": float(cross_entropy(output(data.x_train), data.y_train)),
        "test_loss": float(cross_entropy(logits, data.y_test)),
        "accuracy": float((logits.argmax(-1) == data.y_test).double().mean()),
        "effective_rank": float(effective_rank(x)),
        "rank": float(numerical_rank(x)),
        "used": float(used_directions(x, readout.weight, readout.bias, y)),
    }


def _settings(config: Config) -> dict[str, Any]:
    def optimizer(p: list[Tensor]) -> torch.optim.Optimizer:
        if config.optimizer == "adam":
            return torch.optim.Adam(p, lr=config.lr)
        return torch.optim.SGD(p, lr=config.lr, momentum=0.9)

    return {
        "steps": config.steps,
        "loss": cross_entropy,
        "optimizer": optimizer,
        "coupled": config.optimizer == "sgd",
        "device": config.device,
        "checkpoint_every": max(1, config.steps // 10),
    }


def _fit_stacked(
    config: Config,
    data: DataSplit,
    compared: list[Arm],
    checkpoints: Path | None,
    decay: float,
) -> Trained:
    _, trained = fit_many(
        lambda: _model(config, data),
        (data.x_train, data.y_train),
        compared,
        seeds_of(config.seeds),
        batch_size=config.batch_size,
        checkpoint=None if checkpoints is None else checkpoints / f"decay {decay:g}.pt",
        return_params=True,
        **_settings(config),
    )
    return trained


def _fit_each(
    config: Config,
    data: DataSplit,
    compared: list[Arm],
    checkpoints: Path | None,
    decay: float,
) -> Trained:
    """Train one by one on a function of the step, so that no pass over all data is made at once."""
    trained: Trained = {}
    for seed in seeds_of(config.seeds):
        order = BatchOrder(len(data.y_train), config.batch_size, seed)
        _, models = fit_each(
            lambda: _model(config, data),
            partial(_batch, config, data, order),
            compared,
            [seed],
            checkpoints=checkpoints,
            **_settings(config),
        )
        trained |= {
            key: {n: p.detach().cpu() for n, p in model.named_parameters()}
            for key, model in models.items()
        }
    return trained


def _batch(
    config: Config, data: DataSplit, order: BatchOrder, step: int
) -> tuple[Tensor | None, Tensor]:
    index = order.at(step)
    return data.x_train[index].to(config.device), data.y_train[index].to(config.device)


def _added_afterwards(config: Config, decay: float, trained: Trained) -> Trained:
    """Return the controls: plain decay's trained parameters with theta_0 added."""
    added: Trained = {}
    for ratio in config.sigma_ratios:
        add = arms.bias_added_after(decay, ratio).finish
        assert add is not None
        for seed in seeds_of(config.seeds):
            plain = trained[f"plain decay, {decay:g}", seed]
            added[f"{_CONTROL} {ratio:g}, {decay:g}", seed] = dict(add(plain, seed))
    return added


def _strongest(last: pd.DataFrame, arm: str, column: str) -> pd.Series:
    """Return a column of an arm at the largest decay of the run, by seed."""
    decay = last["weight_decay"].max()
    values: pd.Series = last[column]["vanilla" if arm == "vanilla" else f"{arm}, {decay:g}"]
    return values


def _ratio(arm: str, other: str, column: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda last: _strongest(last, arm, column) / _strongest(last, other, column)


def _gain(arm: str, other: str, column: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda last: _strongest(last, arm, column) - _strongest(last, other, column)


CLAIMS = (
    Claim(
        text="Strong weight decay lowers the rank of the features",
        paper="vanilla: the rank falls, and accuracy with it",
        measure=_ratio("plain decay", "vanilla", "effective_rank"),
        unit="effective rank, largest decay / none",
        holds=lambda values: bool((values < 0.8).all()),
        comment="Accuracy falls along, and a smaller decay is the simplest way to keep both.",
    ),
    Claim(
        text="Syre at its default strength has features of full numerical rank",
        paper="syre: full rank",
        measure=_ratio("syre 0.01", "vanilla", "rank"),
        unit="numerical rank, syre 0.01 at the largest decay / no decay",
        holds=lambda values: bool(values.mean() > 0.9),
        comment="This is the number that the next row explains.",
    ),
    Claim(
        text="That rank is more than theta_0 gives when it is added after training",
        paper="no such control",
        measure=_ratio("syre 0.01", f"{_CONTROL} 0.01", "rank"),
        unit="numerical rank, syre 0.01 / bias 0.01 added after",
        holds=lambda values: bool(values.mean() > 1.1),
        comment="Near 1 noise alone explains the rank; what is above gains no accuracy: see below.",
    ),
    Claim(
        text="Syre at its default strength keeps the accuracy",
        paper="vanilla's accuracy falls, syre's does not",
        measure=_gain("syre 0.01", "plain decay", "accuracy"),
        unit="accuracy of syre 0.01 - plain decay, at the largest decay",
        holds=lambda values: bool(values.mean() > 0.01),
        comment="The default is made to leave saddles, not to outweigh a decay that is too strong.",
    ),
    Claim(
        text="Syre of strength 0.3 keeps more of the features than its control",
        paper="syre: full rank",
        measure=_ratio("syre 0.3", f"{_CONTROL} 0.3", "effective_rank"),
        unit="effective rank, syre 0.3 / bias 0.3 added after, at the largest decay",
        holds=lambda values: bool((values > 1.1).all()),
        comment="Here the network has learned to use theta_0; added afterwards it does harm.",
    ),
    Claim(
        text="Syre of strength 0.3 keeps more of the accuracy than plain decay",
        paper="syre keeps the accuracy",
        measure=_gain("syre 0.3", "plain decay", "accuracy"),
        unit="accuracy of syre 0.3 - plain decay, at the largest decay",
        holds=lambda values: bool((values > 0).all()),
        comment="No decay at all keeps still more: see the next row.",
    ),
    Claim(
        text="At the largest decay syre of strength 0.3 is as accurate as training without decay",
        paper="no such control",
        measure=_gain("syre 0.3", "vanilla", "accuracy"),
        unit="accuracy of syre 0.3 at the largest decay - no decay",
        holds=lambda values: bool(values.mean() > -0.01),
        comment="Where decay is the cause, less decay is the first remedy to try.",
    ),
)
