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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from ..data import DataSplit
from ..measures import effective_rank, missing_fraction, probe_accuracy
from ..removal import Arm, SyreWarning, arms
from ..training.options import made_with_seed
from ..training.speed import hastened
from . import _rules as rules
from ._claims import Claim, Measured, Rows, difference, of, value
from ._common import cosine, fit_settings, standard_arms, strengths
from ._contrastive import Branched, Config, make_network, make_resnet, nt_xent, views
from ._each import train_arms
from ._images import in_parts, load_images

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
    sigma_ratios=(0.01, 0.3),
    seeds=3,
)
PRESETS = {
    "quick": Config(),
    "quick-adam": Config(optimizer="adam", lr=1e-3, ablation=False),
    "mnist": Config(data="mnist", hidden=(128, 128), shift=2, steps=2000, n_probe=2000),
    # Minutes on one large GPU: `make gpu`.
    "cuda": replace(
        _RESNET,
        data="cifar10_jpeg",
        steps=1000,
        warm_up=100,
        ablation=False,
        n_probe=10_000,
        measured=1,
    ),
    # An hour or so on one large GPU: a tenth of the schedule, and no ablation.
    "cifar": replace(
        _RESNET, data="cifar10_jpeg", steps=2000, warm_up=200, ablation=False, measured=2
    ),
    "full-size": _RESNET,
}


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms that are trained; `run` adds the controls that come after training."""
    decay, ratios = config.weight_decay, config.sigma_ratios
    if not config.ablation:
        return standard_arms(replace(config, fix_shares=()), decay)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyreWarning)  # the same D as in "D only"
        both = arms.syre(decay, ratios[len(ratios) // 2], sigma_D=config.sigma_D)
    return [*standard_arms(config, decay, arms.metric_only(decay, config.sigma_D)), both]


def one_by_one(config: Config) -> bool:
    """Test whether `fit` trains the models, one by one, so that processes may share the work."""
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
        The columns of `fit_many`, with train_loss (contrastive, on the last batch), test_contrast
        (on fixed views of test images), probe_last and probe_penultimate (test accuracy of a linear
        classifier on the layer), missing_fraction (of the last layer's dimensions) and
        effective_rank (of the last layer). The controls have rows at the last step only.
    """
    images = load_images(config.data, device=config.device)
    settings = fit_settings(config, config.optimizer) | {
        "loss": lambda output, partner: nt_xent(
            output[..., -config.out :], partner, config.temperature
        ),
        "schedule": cosine(config.steps, config.warm_up) if config.warm_up else None,
        "measures": _measures(config, images),
        "log_every": math.ceil(config.steps / config.measured),
        "checkpoint_every": math.ceil(config.steps / 20),
    }
    x = images.x_train
    table, trained = train_arms(
        lambda: _make_model(config, x.shape[1]),
        lambda step, seed: views(config, x, "train", step, seed=seed),
        compared_arms(config),
        one_by_one=one_by_one(config),
        file="simclr.pt",
        checkpoints=checkpoints,
        **settings,
    )
    plain = arms.plain_decay(config.weight_decay)
    rows = [
        row
        for seed in settings["seeds"]
        for row in _controls(config, trained[plain, seed], seed, images)
    ]
    controls = pd.DataFrame(rows).reindex(columns=table.columns)
    return pd.concat([table, controls], ignore_index=True)


def _make_model(config: Config, pixels: int) -> Branched:
    if one_by_one(config):
        return make_resnet(config.width, config.out)
    return make_network(config.hidden, config.out, pixels)


def _measures(config: Config, images: DataSplit) -> dict[str, Callable[..., Tensor]]:
    x_train, y_train, x_test, y_test = (part[: config.n_probe] for part in images)
    shown, partner = views(replace(config, batch_size=128), x_test, "test")
    out = config.out

    def layers(predict: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        values = in_parts(predict, x, 2000)
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
            predict(shown)[..., -out:], partner, config.temperature
        ),
        "probe_last": probe(1),
        "probe_penultimate": probe(0),
        "missing_fraction": lambda params, predict: missing_fraction(
            layers(predict, x_test)[1], config.tolerance
        ),
        "effective_rank": lambda params, predict: effective_rank(centred(predict)),
    }


@dataclass(frozen=True)
class FreshLastLayer(arms.plain_decay):
    """Plain decay, whose last layer is put back to its random start after training: a control.

    Parameters
    ----------
    weight_decay : float
        As PyTorch's.
    make_model : callable
        Returns an untrained network.
    """

    method = "fresh last layer"
    make_model: Callable[[], nn.Module]

    def finish(self, params: Mapping[str, Tensor], seed: int) -> Mapping[str, Tensor]:  # noqa: D102
        untrained = made_with_seed(self.make_model, seed).named_parameters()
        return {**params, **{n: p.detach() for n, p in untrained if n.startswith("last.")}}


@torch.no_grad()
def _controls(
    config: Config, state: Mapping[str, Tensor], seed: int, images: DataSplit
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the controls: plain decay's network, changed after training."""
    decay = config.weight_decay

    def make_model() -> Branched:
        return _make_model(config, images.x_train.shape[1])

    model = hastened(made_with_seed(make_model, seed)).to(config.device)
    params = {n: state[n].to(config.device) for n, _ in model.named_parameters()}
    controls = [
        FreshLastLayer(decay, make_model),
        *(arms.bias_added_after(decay, **strength) for strength in strengths(config)),
    ]
    step = config.steps - 1
    last_batch, partner = views(config, images.x_train, "train", step, seed=seed)
    for arm in controls:
        changed = dict(arm.finish(params, seed))
        model.load_state_dict(changed, strict=False)
        # Running statistics belong to the weights that they were taken with; an MLP has none.
        update_bn(images.x_train[:5000].split(500), model)
        predict = model.eval()
        z = predict(last_batch)[..., -config.out :]
        row = {"arm": arm.label, **arm.settings(), "seed": seed, "step": config.steps}
        row["train_loss"] = float(nt_xent(z, partner, config.temperature))
        measured = _measures(config, images).items()
        yield row | {column: float(measure(changed, predict)) for column, measure in measured}


_DECAY = of(method="plain decay")
# Both readings of the paper's numbers, and the strongest syre that was tried.
_STRENGTHS: dict[str, dict[str, float]] = {
    "sigma_0 = 0.01": {"sigma_0": 0.01},
    "sigma_0 = 0.1": {"sigma_0": 0.1},
    "1%": {"sigma_ratio": 0.01},
    "30%": {"sigma_ratio": 0.3},
}
_SYRE = {words: of(method="syre", **strength) for words, strength in _STRENGTHS.items()}
_ADDED = {words: of(method="bias added after", **s) for words, s in _STRENGTHS.items()}


def _gap_closed(syre: Rows) -> Measured:
    """Return the measure "gain of the last layer's probe, over its distance to the penultimate"."""

    def measure(last: pd.DataFrame) -> pd.Series:
        plain = _DECAY(last)
        gap = plain.probe_penultimate - plain.probe_last
        return (syre(last).probe_last - plain.probe_last) / gap

    return measure


def _reported(words: str, paper: str) -> str:
    """Return the paper's number where the paper used such a strength; 30% it did not."""
    return "not tried" if words == "30%" else paper


CLAIMS = (
    Claim(
        text="Under plain decay most dimensions of the last layer go missing",
        paper="low-rankness 70%",
        measure=value(_DECAY, "missing_fraction"),
        unit="share of missing dimensions",
        holds=rules.above(0.5, partly=0.2),
        comment="The share depends on the tolerance, which the paper does not give; without any "
        "decay next to nothing is missing.",
    ),
    *(
        Claim(
            text=f"Syre, {words}, keeps the dimensions of the last layer",
            paper=_reported(words, "low-rankness 0%"),
            measure=value(syre, "missing_fraction"),
            unit="share of missing dimensions",
            holds=rules.below(0.05, partly=0.2),
            comment="Where it does, the same bias added to a collapsed network does so too.",
        )
        for words, syre in _SYRE.items()
    ),
    *(
        Claim(
            text=f"Syre, {words}, raises the probe of the last layer above plain decay's",
            paper=_reported(words, "22.2% to 32.5%"),
            measure=difference(syre, _DECAY, "probe_last"),
            unit="difference in accuracy",
            holds=rules.above(0),
            comment="What a gain is worth, the controls say.",
        )
        for words, syre in _SYRE.items()
    ),
    *(
        Claim(
            text=f"Syre, {words}, closes 40% or more of the gap between the last layer's probe and "
            "the penultimate layer's",
            paper=_reported(words, "about 50%; by its numbers 42%"),
            measure=_gap_closed(syre),
            unit="share of plain decay's gap",
            holds=rules.above(0.4, partly=0),
            comment="Partly: it closes some of the gap.",
        )
        for words, syre in _SYRE.items()
    ),
    *(
        Claim(
            text=f"The probe of the penultimate layer stays as it is under syre, {words}",
            paper=_reported(words, "about 46.8% with and without"),
            measure=difference(syre, _DECAY, "probe_penultimate"),
            unit="difference in accuracy",
            holds=rules.between(-0.02, 0.02),
            comment="Where it rises, it does so too when the bias is added after training.",
        )
        for words, syre in _SYRE.items()
        if words != "30%"
    ),
    *(
        claim
        for words in ("sigma_0 = 0.1", "30%")
        for claim in (
            Claim(
                text=f"Syre, {words}, fills more dimensions than its bias added after training",
                measure=difference(_SYRE[words], _ADDED[words], "missing_fraction"),
                unit="difference in the share of missing dimensions",
                holds=rules.below(0),
                comment="A random matrix of that size has full rank at this tolerance.",
            ),
            Claim(
                text=f"The probe gains more from syre, {words}, than from its bias added after",
                measure=difference(_SYRE[words], _ADDED[words], "probe_last"),
                unit="difference in accuracy",
                holds=rules.above(0),
                comment="Where it does not, what the probe gains is the gain of any noise of that "
                "size.",
            ),
            Claim(
                text="The contrastive loss on test images is lower with syre, "
                f"{words}, than with its bias added after training",
                measure=difference(_SYRE[words], _ADDED[words], "test_contrast"),
                unit="difference in the loss",
                holds=rules.below(0),
                comment="Training has adapted to the bias, which disturbs where it is added "
                "after: plain decay's loss is lower than the control's too.",
            ),
        )
    ),
    Claim(
        text="With Adam no dimension goes missing under plain decay",
        paper="not tried",
        measure=value(_DECAY, "missing_fraction"),
        unit="share of missing dimensions",
        holds=rules.below(0.05),
        comment="The same coupled decay: Adam divides by the size of the gradient, decay included.",
        presets=("quick-adam",),
    ),
)
