r"""Dimensional collapse of the last layer in contrastive self-supervised learning (SimCLR).

Any rotation of the last layer's output leaves the contrastive loss as it is. In it are the
reflections :math:`I - 2 n n^T` for all unit vectors `n`; on the mirror plane of one, the output has
lost the direction `n`. Weight decay pulls towards all these planes. Besides the remedy and its
rivals there are two controls that change a network *after* it was trained with plain decay: syre's
bias is added to all parameters, or the last layer is put back to its random start.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from .. import data as datasets
from .. import models
from ..measures import effective_rank, numerical_rank
from ..removal import Arm, SyreWarning, arms
from ..training import fit_many
from ..training.options import made_with_seed
from ._claims import Claim
from ._common import Seeds, seeds_of
from ._each import fit_each

if TYPE_CHECKING:
    import pandas as pd

FRESH = "fresh last layer"
Trained = dict[int, tuple[nn.Module, dict[str, Tensor]]]
"""The networks of plain decay: for each seed a module and its parameters."""


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Parameters
    ----------
    data : {"digits", "mnist", "cifar10", "cifar10_jpeg", "cifar100"}
        A data set of ``syre_helpers.data``. CIFAR needs the extra `vision`, for kornia.
    hidden : tuple of int
        Hidden layers of the encoder, for digits and MNIST; its last one is the penultimate layer.
        Defaults 64 and 64.
    width : int
        For CIFAR: channels of the ResNet-18's first stage; its output has eight times as many, and
        so has the hidden layer of the two-layer head, the penultimate layer. Default 64.
    out : int
        Dimensions of the last layer. Default 32.
    shift, noise
        The two views of an image, for digits and MNIST: moved by up to `shift` pixels, with noise
        of this standard deviation. Defaults 1 and 0.3.
    temperature : float
        Of the contrastive loss. Default 0.5.
    optimizer : {"sgd", "adam"}
        Default "sgd".
    lr, momentum, warm_up, batch_size, steps
        The rate rises over the `warm_up` steps and then, if there are any, falls as a cosine to 0.
        Adam uses its own momenta. Defaults 0.1, 0.9, 0, 32 images, 600.
    weight_decay : float
        PyTorch's, coupled; gamma is half of it. Default 0.006.
    sigma_ratios : tuple of float
        Strengths of syre, each beside its control. Defaults 0.01, 0.1 and 0.3.
    fix_share, sigma_D : float
        Share of W-fix, and half-width of D. Defaults 0.1 and 0.5.
    ablation : bool
        Whether W-fix, D only and syre + D (with the middle one of `sigma_ratios`) are trained too.
    tolerance : float
        A dimension of the last layer counts as missing if its singular value, over centred test
        images, is at most this share of the largest. Default 0.001.
    ridge : float
        Of the linear probes, in units of the mean variance of a feature. Default 0.001.
    n_probe : int, optional
        Measure on at most so many training and so many test images. Default: all.
    measured : int
        How often, evenly over the training, after the start. Default 4.
    seeds : int or tuple of int
        Number of seeds, counted from 0, or the seeds themselves. Default 8. On CIFAR a seed also
        sets the views; elsewhere all seeds see the same ones.
    device : str
        Default "cpu".
    """

    data: Literal["digits", "mnist", "cifar10", "cifar10_jpeg", "cifar100"] = "digits"
    hidden: tuple[int, ...] = (64, 64)
    width: int = 64
    out: int = 32
    shift: int = 1
    noise: float = 0.3
    temperature: float = 0.5
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    warm_up: int = 0
    batch_size: int = 32
    steps: int = 600
    weight_decay: float = 6e-3
    sigma_ratios: tuple[float, ...] = (0.01, 0.1, 0.3)
    fix_share: float = 0.1
    sigma_D: float = 0.5
    ablation: bool = True
    tolerance: float = 1e-3
    ridge: float = 1e-3
    n_probe: int | None = None
    measured: int = 4
    seeds: Seeds = 8
    device: str = "cpu"


# The paper names ResNet-18, a two-layer head, CIFAR-100, and a last and a penultimate layer. Left
# open, and chosen here: what "penultimate" means (the hidden layer of the head), its width (512)
# and the output's (128), the batch, the schedule, the temperature, and the strength of the decay,
# for which we took the usual one of supervised training on CIFAR.
_RESNET = Config(
    data="cifar100",
    out=128,
    lr=0.3,
    warm_up=1000,
    batch_size=512,
    steps=20_000,  # about 200 epochs
    weight_decay=5e-4,
    sigma_ratios=(0.01, 0.1),
    seeds=3,
)


def _changed(config: Config, **changes: Any) -> Config:
    return Config(**(vars(config) | changes))


PRESETS = {
    "quick": Config(),
    "quick-adam": Config(optimizer="adam", lr=1e-3, ablation=False),
    "mnist": Config(data="mnist", hidden=(128, 128), shift=2, steps=2000, n_probe=2000),
    # An hour or so on one large GPU: a tenth of the schedule, and no ablation.
    "cifar": _changed(
        _RESNET, data="cifar10_jpeg", steps=2000, warm_up=200, ablation=False, measured=2
    ),
    "paper": _RESNET,
}


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms that are trained; `run` adds the controls that come after training."""
    decay, ratios = config.weight_decay, config.sigma_ratios
    trained = [arms.vanilla(), arms.plain_decay(decay)]
    if config.ablation:
        trained.append(arms.weight_fix(config.fix_share, decay))
        trained.append(arms.metric_only(decay, config.sigma_D))
    trained += [arms.syre(decay, ratio).renamed(f"syre {ratio:g}") for ratio in ratios]
    if config.ablation:
        middle = ratios[len(ratios) // 2]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyreWarning)  # the same D as in "D only"
            both = arms.syre(decay, middle, sigma_D=config.sigma_D)
        trained.append(both.renamed(f"syre + D {middle:g}"))
    return trained


def one_by_one(config: Config) -> bool:
    """Return whether `fit` trains the models, one by one, so that processes may share the work."""
    return config.data not in ("digits", "mnist")  # whose network is an MLP


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train all arms and seeds without labels, and measure what the layers know of them.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder to keep the state in now and then, and to go on from.

    Returns
    -------
    pandas.DataFrame
        Columns arm, seed, step, train_loss (contrastive, on the last batch), test_contrast (on
        fixed views of test images), probe_last and probe_penultimate (test accuracy of a linear
        classifier on the layer), missing (share of the last layer's dimensions) and effective_rank
        (of the last layer). The controls have rows at the last step only.
    """
    import pandas as pd

    images = _load(config)
    measures = _measures(config, images)

    def make_model() -> Branched:
        return make_network(config, images.x_train.shape[1])

    def loss(output: Tensor, partner: Tensor) -> Tensor:
        return nt_xent(output[..., -config.out :], partner, config.temperature)

    settings: dict[str, Any] = {
        "steps": config.steps,
        "loss": loss,
        "optimizer": _optimizer(config),
        "schedule": _schedule(config),
        "measures": measures,
        "log_every": math.ceil(config.steps / config.measured),
        "device": config.device,
        "checkpoint_every": math.ceil(config.steps / 20),
    }
    seeds = seeds_of(config.seeds)
    if not one_by_one(config):
        table, states = fit_many(
            make_model,
            lambda step: _views(config, images.x_train, step, config.batch_size),
            compared_arms(config),
            seeds,
            checkpoint=None if checkpoints is None else checkpoints / "simclr.pt",
            return_params=True,
            **settings,
        )
        template = make_model()
        trained: Trained = {seed: (template, states["plain decay", seed]) for seed in seeds}
    else:
        table, trained = _one_by_one(config, make_model, images.x_train, checkpoints, settings)
    rows = [
        row
        for seed, (model, params) in trained.items()
        for row in _controls(config, made_with_seed(make_model, seed), model, params, seed, images)
    ]
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True)


class Branched(nn.Module):
    """An encoder and a last layer, whose outputs it returns side by side.

    Parameters
    ----------
    encoder : nn.Module
        Its output is the penultimate layer.
    last : nn.Linear
        The last layer.
    """

    def __init__(self, encoder: nn.Module, last: nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """Return the penultimate layer's values, followed by the last layer's."""
        h = self.encoder(x)
        return torch.cat([h, self.last(h)], -1)


def make_network(config: Config, inputs: int = 64) -> Branched:
    """Return an untrained network.

    Parameters
    ----------
    config : Config
        For digits and MNIST an MLP with ReLU, else a ResNet-18 with a two-layer head.
    inputs : int
        Numbers of an image, for the MLP. Default 64.

    Returns
    -------
    Branched
        Its output has the penultimate and the last layer side by side.
    """
    if not one_by_one(config):
        # The activation comes after the last hidden layer too: that is the penultimate one.
        layers = [*models.mlp([inputs, *config.hidden], "relu"), nn.ReLU()]
        return Branched(nn.Sequential(*layers), nn.Linear(config.hidden[-1], config.out))
    features = 8 * config.width
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        resnet=models.resnet18(features, width=config.width),
        relu=nn.ReLU(),
    )
    return Branched(nn.Sequential(parts), nn.Linear(features, config.out))


def nt_xent(z: Tensor, partner: Tensor, temperature: float = 0.5) -> Tensor:
    r"""Return the contrastive loss of SimCLR (normalised, temperature-scaled cross entropy).

    Parameters
    ----------
    z : Tensor
        Last layer's values of all views of a batch, shape (views, dimensions).
    partner : Tensor
        For each view the index of the other view of its image, shape (views,), int64.
    temperature : float
        Default 0.5.

    Returns
    -------
    Tensor
        The mean over the views of :math:`-\log` of the softmax, over all other views, of the cosine
        similarities divided by the temperature, at the partner.

    References
    ----------
    Chen, Kornblith, Norouzi and Hinton, "A simple framework for contrastive learning of visual
    representations", ICML 2020.

    Examples
    --------
    >>> import torch
    >>> pairs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 3.0]])
    >>> round(nt_xent(pairs, torch.tensor([2, 3, 0, 1])).item(), 4)
    0.2395
    """
    unit = functional.normalize(z, dim=-1)
    others = 1 - torch.eye(len(unit), dtype=z.dtype, device=z.device)
    # A cosine is at most 1: less 1, no power is too large for a float.
    powers = ((unit @ unit.T - 1) / temperature).exp() * others
    alike = ((unit * unit[partner]).sum(-1) - 1) / temperature
    return (powers.sum(-1).log() - alike).mean()


def moved_and_noisy(
    images: Tensor, generator: torch.Generator, shift: int = 1, noise: float = 0.3
) -> Tensor:
    """Return a view of each image: moved at random, with noise.

    Parameters
    ----------
    images : Tensor
        Square grey images, shape (samples, pixels).
    generator : torch.Generator
        On the CPU.
    shift : int
        At most so many pixels in each direction; the edge is filled with the darkest value.
    noise : float
        Standard deviation.

    Returns
    -------
    Tensor
        Shape (samples, pixels).
    """
    count, side = len(images), math.isqrt(images.shape[1])
    square = images.reshape(count, side, side)
    padded = functional.pad(square, [shift] * 4, value=float(images.min()))
    windows = padded.unfold(1, side, 1).unfold(2, side, 1)
    down, right = torch.randint(2 * shift + 1, (2, count), generator=generator)
    moved = windows[torch.arange(count), down, right].flatten(1)
    return moved + noise * torch.randn(moved.shape, generator=generator).to(moved)


def probe_accuracy(
    train: Tensor, y_train: Tensor, test: Tensor, y_test: Tensor, ridge: float = 1e-3
) -> Tensor:
    """Return the accuracy of a linear classifier on given features: a linear probe.

    It is ridge regression on the indicators of the classes, so it has a closed form, and works
    under ``torch.func.vmap``.

    Parameters
    ----------
    train, test : Tensor
        Features, shapes (samples, features).
    y_train, y_test : Tensor
        Classes, int64, counted from 0.
    ridge : float
        Penalty, in units of the mean variance of a feature: directions with much less variance than
        this do not count. Default 0.001.

    Returns
    -------
    Tensor
        Share of the test samples whose class is predicted, float64.

    Examples
    --------
    >>> import torch
    >>> x, y = torch.tensor([[-1.0], [-2.0], [1.0], [2.0]]), torch.tensor([0, 0, 1, 1])
    >>> probe_accuracy(x, y, 3 * x, y).item()
    1.0
    """
    mean = train.mean(-2)
    x, x_test = (train - mean).double(), (test - mean).double()
    target = functional.one_hot(y_train).double()
    middle = target.mean(0)
    covariance = x.mT @ x / len(y_train)
    scale = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
    # Where nothing varies, the probe predicts the most frequent class.
    penalty = (ridge * scale).clamp_min(1e-30) * torch.eye(x.shape[-1]).to(x)
    weights = torch.linalg.solve(covariance + penalty, x.mT @ (target - middle) / len(y_train))
    predicted = (x_test @ weights + middle).argmax(-1)
    return (predicted == y_test).double().mean()


def missing_share(z: Tensor, tolerance: float = 1e-3) -> Tensor:
    """Return the share of dimensions in which a layer's values do not vary.

    Parameters
    ----------
    z : Tensor
        A layer's values, shape (..., samples, dimensions).
    tolerance : float
        A dimension is missing if its singular value, over the centred samples, is at most this
        share of the largest. Default 0.001.

    Returns
    -------
    Tensor
        From 0 (all are there) to 1 (all samples have the same values).

    Examples
    --------
    >>> import torch
    >>> missing_share(torch.tensor([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])).item()
    0.5
    """
    rank = numerical_rank(z - z.mean(-2, keepdim=True), tolerance)
    return 1 - rank / z.shape[-1]


Measures = dict[str, Callable[[Mapping[str, Tensor], Callable[[Tensor], Tensor]], Tensor]]


def _load(config: Config) -> datasets.DataSplit:
    split: datasets.DataSplit = getattr(datasets, config.data)()
    return datasets.DataSplit(*(part.to(config.device) for part in split))


def _measures(config: Config, images: datasets.DataSplit) -> Measures:
    n = config.n_probe
    x_train, y_train, x_test, y_test = (part[:n] for part in images)
    views, partner = _views(config, x_test, 0, min(128, len(x_test)))
    out = config.out

    def layers(predict: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        values = torch.cat([predict(part) for part in x.split(2000)])
        return values[..., :-out], values[..., -out:]

    def probe(layer: int) -> Callable[..., Tensor]:
        def measure(params: object, predict: Callable[[Tensor], Tensor]) -> Tensor:
            train, test = layers(predict, x_train)[layer], layers(predict, x_test)[layer]
            return probe_accuracy(train, y_train, test, y_test, config.ridge)

        return measure

    def centred(predict: Callable[[Tensor], Tensor]) -> Tensor:
        z = layers(predict, x_test)[1]
        return z - z.mean(0)

    return {
        "test_contrast": lambda params, predict: nt_xent(
            predict(views)[..., -out:], partner, config.temperature
        ),
        "probe_last": probe(1),
        "probe_penultimate": probe(0),
        "missing": lambda params, predict: missing_share(
            layers(predict, x_test)[1], config.tolerance
        ),
        "effective_rank": lambda params, predict: effective_rank(centred(predict)),
    }


def _views(
    config: Config, images: Tensor, step: int, batch_size: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return two views of the images of a step, one after the other, and who belongs to whom."""
    key = 10_000_000 * seed + step
    generator = torch.Generator().manual_seed(key)
    chosen = torch.randperm(len(images), generator=generator)[:batch_size].repeat(2)
    batch = images[chosen.to(images.device)]
    partner = torch.arange(len(chosen), device=images.device).roll(len(chosen) // 2)
    if images.ndim == 2:
        return moved_and_noisy(batch, generator, config.shift, config.noise), partner
    return _coloured_views(batch, images, key), partner


def _coloured_views(batch: Tensor, images: Tensor, key: int) -> Tensor:
    """Return a view of each photograph: cropped, mirrored, in other colours (kornia)."""
    try:
        from kornia import augmentation
    except ImportError as error:
        raise ImportError(
            'the views of photographs need kornia: pip install "syre_helpers[vision]"'
        ) from error
    size = (int(batch.shape[-2]), int(batch.shape[-1]))
    change = nn.Sequential(
        augmentation.RandomResizedCrop(size, scale=(0.2, 1.0)),
        augmentation.RandomHorizontalFlip(),
        augmentation.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        augmentation.RandomGrayscale(p=0.2),
    )
    # kornia wants pixels from 0 to 1; all sets have both ends in all channels.
    low, high = images[:1000].amin((0, 2, 3), True), images[:1000].amax((0, 2, 3), True)
    # kornia draws from the global generators.
    devices = [batch.device] if batch.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(key)
        changed: Tensor = change((batch - low) / (high - low))
    return changed * (high - low) + low


def _optimizer(config: Config) -> Callable[[list[Tensor]], torch.optim.Optimizer]:
    if config.optimizer == "adam":
        return lambda params: torch.optim.Adam(params, lr=config.lr)
    return lambda params: torch.optim.SGD(params, lr=config.lr, momentum=config.momentum)


def _schedule(config: Config) -> Callable[[int], float] | None:
    if not config.warm_up:
        return None

    def factor(step: int) -> float:
        if step < config.warm_up:
            return (step + 1) / config.warm_up
        done = (step - config.warm_up) / max(1, config.steps - config.warm_up)
        return 0.5 * (1 + math.cos(math.pi * done))

    return factor


def _one_by_one(
    config: Config,
    make_model: Callable[[], Branched],
    x: Tensor,
    checkpoints: Path | None,
    settings: Mapping[str, Any],
) -> tuple[pd.DataFrame, Trained]:
    """Train the arms one by one, each seed with its own views; return the plain decay's models."""
    import pandas as pd

    tables, trained = [], {}
    for seed in seeds_of(config.seeds):

        def data(step: int, seed: int = seed) -> tuple[Tensor, Tensor]:
            return _views(config, x, step, config.batch_size, seed)

        table, by_arm = fit_each(
            make_model, data, compared_arms(config), [seed], checkpoints=checkpoints, **settings
        )
        model = by_arm["plain decay", seed]
        trained[seed] = model, {n: p.detach() for n, p in model.named_parameters()}
        tables.append(table)
    return pd.concat(tables, ignore_index=True), trained


@torch.no_grad()
def _controls(
    config: Config,
    untrained: nn.Module,
    model: nn.Module,
    params: Mapping[str, Tensor],
    seed: int,
    images: datasets.DataSplit,
) -> Iterable[dict[str, Any]]:
    """Yield the rows of the controls: plain decay's network, changed after training."""
    start = {n: p.detach() for n, p in untrained.named_parameters() if n.startswith("last.")}
    changed: dict[str, Mapping[str, Tensor]] = {FRESH: {**params, **start}}
    for ratio in config.sigma_ratios:
        finish = arms.bias_added_after(config.weight_decay, ratio).finish
        assert finish is not None
        changed[f"bias added after {ratio:g}"] = finish(params, seed)
    key = seed if one_by_one(config) else 0
    last_batch, partner = _views(config, images.x_train, config.steps - 1, config.batch_size, key)
    for name, values in changed.items():
        own = deepcopy(model).to(config.device)
        own.load_state_dict({n: p.to(config.device) for n, p in values.items()}, strict=False)
        # Running statistics belong to the weights that they were taken with; an MLP has none.
        update_bn(images.x_train[:5000].split(500), own)
        predict = own.eval()
        z = predict(last_batch)[..., -config.out :]
        row = {"arm": name, "seed": seed, "step": config.steps}
        row["train_loss"] = float(nt_xent(z, partner, config.temperature))
        for column, measure in _measures(config, images).items():
            row[column] = float(measure(values, predict))
        yield row


def _strongest(last: pd.DataFrame, family: str, column: str) -> pd.Series:
    """Return a column of the arm with the largest bias, such as "syre 0.3" among all "syre"."""
    names = last.index.get_level_values("arm").unique()
    strengths = {name: name.removeprefix(f"{family} ") for name in names if name.startswith(family)}
    numbers = {name: float(s) for name, s in strengths.items() if s[0].isdigit()}
    return last[column][max(numbers, key=lambda name: numbers[name])]


def _beside_control(last: pd.DataFrame, column: str) -> pd.Series:
    control = _strongest(last, "bias added after", column)
    return _strongest(last, "syre", column) - control


def _mostly(values: pd.Series, sign: int = 1) -> bool | None:
    """Return True if all values have the sign, None if only their mean stands out, else False."""
    signed = sign * values
    if (signed > 0).all():
        return True
    return None if signed.mean() > signed.std() else False


CLAIMS = (
    Claim(
        text="Under plain decay most dimensions of the last layer go missing",
        paper="low-rankness 70%",
        measure=lambda last: last["missing"]["plain decay"],
        unit="share of missing dimensions",
        holds=lambda values: bool((values > 0.5).all()) or (None if values.mean() > 0.2 else False),
        comment="The share depends on the tolerance, which the paper does not give; without any "
        "decay nothing is missing either.",
    ),
    Claim(
        text="Syre at its default strength, 0.01, keeps them",
        paper="low-rankness 0%",
        measure=lambda last: last["missing"]["syre 0.01"],
        unit="share of missing dimensions",
        holds=lambda values: (
            bool((values < 0.05).all()) or (None if values.mean() < 0.2 else False)
        ),
        comment="Not at a tolerance of 0.001; at 0.00001, after longer training, it does, and "
        "so does the same bias added to a collapsed network (see the chapter).",
    ),
    Claim(
        text="Syre at the largest strength tried keeps them",
        paper="not tried",
        measure=lambda last: _strongest(last, "syre", "missing"),
        unit="share of missing dimensions",
        holds=lambda values: (
            bool((values < 0.05).all()) or (None if values.mean() < 0.2 else False)
        ),
        comment="So does the same bias added after training, to no less a degree.",
    ),
    Claim(
        text="Syre 0.01 raises the linear probe of the last layer above plain decay's",
        paper="22.2% to 32.5%",
        measure=lambda last: last["probe_last"]["syre 0.01"] - last["probe_last"]["plain decay"],
        unit="difference in accuracy",
        holds=_mostly,
        comment="Larger strengths do, and so do the controls.",
    ),
    Claim(
        text="The probe of the penultimate layer stays as it is under syre 0.01",
        paper="about 46.8% with and without",
        measure=lambda last: (
            last["probe_penultimate"]["syre 0.01"] - last["probe_penultimate"]["plain decay"]
        ),
        unit="difference in accuracy",
        holds=lambda values: abs(values.mean()) < 0.02,
        comment="With larger strengths it rises a little, as it does when the bias is added after.",
    ),
    Claim(
        text="The probe gains more from syre than from its bias added after training",
        paper="no such control",
        measure=lambda last: _beside_control(last, "probe_last"),
        unit="difference in accuracy",
        holds=_mostly,
        comment="At the largest strength tried: what the probe gains is the gain of any noise.",
    ),
    Claim(
        text="The contrastive loss on test images is lower with syre than with its bias added "
        "after training",
        paper="no such control",
        measure=lambda last: _beside_control(last, "test_contrast"),
        unit="difference in the loss",
        holds=lambda values: _mostly(values, -1),
        comment="At the largest strength tried; this is what is left of the effect.",
    ),
    Claim(
        text="With Adam no dimension goes missing under plain decay",
        paper="not tried",
        measure=lambda last: last["missing"]["plain decay"],
        unit="share of missing dimensions",
        holds=lambda values: bool((values < 0.05).all()),
        comment="The same coupled decay: Adam divides by the size of the gradient, decay included.",
        presets=("quick-adam",),
    ),
)
