r"""Dead latents of a linear variational autoencoder, trained on the exact evidence lower bound.

The decoder is :math:`x | z \sim N(W z, I)` with :math:`z \sim N(0, I)`, the encoder
:math:`z | x \sim N(V x, \operatorname{diag} e^s)`. With :math:`\beta` times the KL divergence the
optimum is known: principal directions whose variance exceeds :math:`\beta` get a latent, up to the
number of latents; the others none (`oracle`). Changing the sign of a latent's column of `W` and row
of `V` changes nothing: a latent that is zero in both lies on the mirror plane, and is dead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from torch import Tensor, nn

from .._random import generator
from ..measures import active_latents
from ..removal import Arm, arms
from ..training import fit_many
from ..training.batches import Data
from . import _rules as rules
from ._claims import Claim, of, value
from ._common import Descent, file_in, fit_settings, standard_arms, usual_controls
from ._images import load_images
from ._vae import BETA, WithBeta, divergence, rank_of_means, unit_pixels


@dataclass(frozen=True, kw_only=True)
class Config(Descent):
    """Settings of the experiment; those that others have too are in `Descent`."""

    data: Literal["generated", "mnist", "fashion_mnist"] = "generated"
    """Only the covariance of the data counts. Generated: the given `variances` in random directions
    of `d` dimensions, and 0.1 in all others. Images: pixels from 0 to 1, on the first `d` principal
    components."""
    d: int = 12
    """Dimensions of the data."""
    variances: tuple[float, ...] = (12.0, 10.0, 8.5, 7.0, 6.0, 5.0, 4.0, 3.0)
    """Variances of the generated data."""
    latents: int = 8
    """Number of latents."""
    dead: int = 4
    """Number of latents that start at zero."""
    beta: float = 1.0
    """Weight of the KL divergence."""
    samples: int = 16
    """Draws of each point's latents per step, for the sampled loss."""
    weight_decay: float = 1e-3
    sigma_ratios: tuple[float, ...] = (0.001, 0.01, 0.1)
    fix_shares: tuple[float, ...] = (0.1, 0.3)
    fix_kappas: tuple[float, ...] = (0.25,)
    """As of W-fix's authors in their last layer; with 1 a share of 0.3 diverges at this `lr`."""
    lr: float = 0.01
    steps: int = 500


# The paper has no linear VAE. The larger runs take the covariance of images with pixels from 0 to
# 1, "paper" that of the paper's; these variances are smaller, so that beta is lower too.
PRESETS = {
    "quick": Config(),
    "quick-generic": Config(dead=0),
    "mnist": Config(data="mnist", d=64, beta=0.25, lr=0.02, weight_decay=5e-4, steps=1500),
    "paper": Config(data="fashion_mnist", d=64, beta=0.25, lr=0.004, weight_decay=5e-4, steps=6000),
    "full-size": Config(data="mnist", d=64, beta=0.25, lr=0.004, weight_decay=5e-4, steps=6000),
}


class LinearVAE(nn.Module):
    """A linear variational autoencoder whose output is its loss, exactly.

    Parameters
    ----------
    d, latents : int
        Sizes.
    dead : int
        Number of latents, the last ones, that start at zero. Default 0.
    beta : float
        Weight of the KL divergence. Default 1.

    Attributes
    ----------
    encoder, decoder : nn.Parameter
        Shapes (latents, d) and (d, latents).
    log_variance : nn.Parameter
        Of the posterior, shape (latents,): the same for all samples.

    Examples
    --------
    >>> x = torch.randn(5, 6)
    >>> model = LinearVAE(6, 2, dead=2)
    >>> torch.allclose(model(x), x.square().sum(1) / 2)
    True
    """

    def __init__(self, d: int, latents: int, dead: int = 0, beta: float = 1.0) -> None:
        super().__init__()
        self.encoder = nn.Parameter(torch.randn(latents, d) / d**0.5)
        self.decoder = nn.Parameter(torch.randn(d, latents) / latents**0.5)
        self.log_variance = nn.Parameter(torch.zeros(latents))
        self.beta = nn.Parameter(torch.tensor(float(beta)))  # never trained: see `WithBeta`
        with torch.no_grad():
            self.encoder[latents - dead :] = 0
            self.decoder[:, latents - dead :] = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return half the expected squared error plus beta KL, shape (samples,)."""
        parts = losses(dict(self.named_parameters()), x)
        return parts[0] / 2 + self.beta * parts[1]


class SampledLinearVAE(LinearVAE):
    """The same with one sample of the latents in place of the expectation, as VAEs are trained."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the loss; `x` holds the sample and, behind it, the noise of its latents."""
        d = self.encoder.shape[1]
        x, noise = x[:, :d], x[:, d:]
        means = x @ self.encoder.T
        z = means + (self.log_variance / 2).exp() * noise
        error = (x - z @ self.decoder.T).square().sum(-1)
        return error / 2 + self.beta * divergence(means, self.log_variance.expand_as(means))


def losses(params: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the expected squared error of each sample, and its KL divergence."""
    encoder, decoder, s = (params[n] for n in ("encoder", "decoder", "log_variance"))
    means = x @ encoder.T
    spread = (s.exp() * decoder.square().sum(0)).sum()
    error = (x - means @ decoder.T).square().sum(-1) + spread
    return error, divergence(means, s.expand_as(means))


def oracle(variances: Sequence[float] | Tensor, latents: int, beta: float) -> tuple[float, float]:
    r"""Return the expected squared error and the KL divergence of the best linear VAE.

    Along a principal direction of variance :math:`\lambda` a latent leaves the error
    :math:`\min(\lambda, \beta)` and costs a KL of :math:`\frac12 \max(0, \ln (\lambda / \beta))`.
    Without a latent the error is :math:`\lambda`. The largest variances get the latents.

    Parameters
    ----------
    variances : sequence of float
        Of the data, along their principal directions.
    latents : int
        Number of latents.
    beta : float
        Weight of the KL divergence.

    Returns
    -------
    float, float
        Per sample, in the mean.

    References
    ----------
    Lucas, Tucker, Grosse and Norouzi (NeurIPS 2019), after Tipping and Bishop (1999).

    Examples
    --------
    >>> oracle([4.0, 2.0, 0.5], latents=2, beta=1.0)[0]
    2.5
    """
    ordered = torch.as_tensor(variances, dtype=torch.float64).sort(descending=True).values
    coded, rest = ordered[:latents], ordered[latents:]
    error = coded.clamp_max(beta).sum() + rest.sum()
    return error.item(), (coded / beta).log().clamp_min(0).sum().item() / 2


def symmetrise(params: Mapping[str, Tensor], dead: int) -> dict[str, Tensor]:
    """Set the last latents to zero: the nearest state on their mirror planes."""
    alive = len(params["log_variance"]) - dead
    keep = (torch.arange(len(params["log_variance"])) < alive).to(params["encoder"])
    factors = {"encoder": keep[:, None], "decoder": keep}
    return {n: p * factors[n] if n in factors else p for n, p in params.items()}


def data(config: Config) -> tuple[Tensor, Tensor]:
    """Return points with the data's covariance, and the variances, largest first.

    The exact loss depends on nothing else, so `d` points do for any number of samples: one on each
    principal direction, at the distance that gives the right covariance. (The mean of the data is
    taken to be 0; that of the points is not, so that `active_latents` needs their mirror images.)

    Parameters
    ----------
    config : Config
        Names the data and their dimensions.

    Returns
    -------
    Tensor, Tensor
        The points, (d, d), and the variances, (d,), in float64.
    """
    if config.data == "generated":
        variances = torch.full((config.d,), 0.1, dtype=torch.float64)
        variances[: len(config.variances)] = torch.tensor(config.variances, dtype=torch.float64)
        draw = torch.Generator().manual_seed(0)  # the data set itself, the same for every run
        normal = torch.randn(config.d, config.d, generator=draw, dtype=torch.float64)
        directions = torch.linalg.qr(normal).Q
    else:
        x = unit_pixels(load_images(config.data).x_train)[0].double()
        centred = x - x.mean(0)
        variances = torch.linalg.eigvalsh(centred.T @ centred / len(x)).flip(0)[: config.d]
        directions = torch.eye(config.d, dtype=torch.float64)  # in the basis of the components
    return (config.d * variances).sqrt()[:, None] * directions.T, variances


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms of the experiment: the remedy, its rivals, and the controls."""
    decay = config.weight_decay
    compared = standard_arms(
        config,
        decay,
        *usual_controls(decay),
        arms.symmetric_bias(decay, lambda bias: symmetrise(bias, config.dead)),
        arms.bias_added_after(decay),
    )
    return [WithBeta(arm, config.beta) for arm in compared]


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train all arms and seeds on the exact loss, and two of them on the sampled one.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder to keep the run's state in, and to go on from.

    Returns
    -------
    pandas.DataFrame
        The columns of `fit_many`; reconstruction (the expected squared error) and kl, per sample;
        gap, by how many nats train_loss exceeds its optimum; excess, reconstruction over that of
        the oracle; active, the number of active latents; rank, that of the encoder's output. Arms
        of the variant "sampled" were trained on the sampled loss.
    """
    x, variances = data(config)
    latents = config.latents
    best, best_kl = oracle(variances, latents, config.beta)

    def error_and_kl(params: Mapping[str, Tensor]) -> list[Tensor]:
        return [part.mean() for part in losses(params, x)]

    def gap(params: Mapping[str, Tensor], predict: object) -> Tensor:
        error, kl = error_and_kl(params)
        return error / 2 + params[BETA] * kl - (best / 2 + config.beta * best_kl)

    def means(params: Mapping[str, Tensor]) -> Tensor:
        half = x @ params["encoder"].T
        return torch.cat([half, -half])

    measures = {
        "reconstruction": lambda params, predict: error_and_kl(params)[0],
        "kl": lambda params, predict: error_and_kl(params)[1],
        "gap": gap,
        "excess": lambda params, predict: error_and_kl(params)[0] / best,
        "active": lambda params, predict: active_latents(means(params)),
        "rank": lambda params, predict: rank_of_means(means(params)),
    }

    def with_noise(step: int) -> tuple[Tensor, Tensor]:
        points = x.repeat(config.samples, 1)
        draw = generator(0, "noise", step)
        noise = torch.randn(len(points), latents, generator=draw, dtype=x.dtype)
        both = torch.cat([points, noise.to(x.device)], 1)
        return both, both

    def train(kind: type[LinearVAE], points: Data, compared: list[Arm], name: str) -> pd.DataFrame:
        return fit_many(
            lambda: kind(config.d, latents, config.dead, config.beta).double(),
            points,
            compared,
            loss=lambda output, target: output.mean(),
            measures=measures,
            log_every=max(1, config.steps // 20),
            checkpoint=file_in(checkpoints, name),
            **fit_settings(config),
        )

    compared = compared_arms(config)
    x = x.to(config.device)
    exact = train(LinearVAE, (x, x), compared, "exact.pt")
    noisy = [replace(arm, variant="sampled") for arm in compared[:2]]
    sampled = train(SampledLinearVAE, with_noise, noisy, "sampled.pt")
    return pd.concat([exact.assign(variant=""), sampled], ignore_index=True)


CLAIMS = (
    Claim(
        text="With half of its latents dead, the linear VAE stays collapsed under plain decay.",
        measure=value(of(method="plain decay", variant=""), "active"),
        unit="active latents of 8",
        holds=rules.between(4, 4),
        comment="Exact to the bit, since the gradient of the exact loss is zero at a dead latent.",
    ),
    Claim(
        text="syre revives all latents and reaches the closed-form optimum.",
        measure=value(of(method="syre", sigma_ratio=0.01), "excess"),
        unit="expected squared error over the oracle's",
        holds=rules.between(0.99, 1.01),
        comment="So does one small kick at the start: the dead latents are a saddle.",
    ),
    Claim(
        text="On the sampled loss, vanilla training leaves the dead latents without any remedy.",
        measure=value(of(method="vanilla", variant="sampled"), "excess"),
        unit="expected squared error over the oracle's",
        holds=rules.below(1.2),
        comment="The sign symmetry holds for the expected loss; each sample breaks it.",
    ),
)
