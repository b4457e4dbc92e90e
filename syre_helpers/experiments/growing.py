r"""Growing by copying: a trained network is widened, by exact copies of its units or otherwise.

Copies with divided outgoing weights compute what the small network computes (Chen et al., Net2Net,
ICLR 2016), and start on the mirror planes of all their swaps. Four phases: a small network learns;
it is grown and learns on; a stronger decay shrinks it; and the decay falls back as new data come.
The paper has no such experiment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from .._random import generator
from ..data import DataSplit, teacher_regression
from ..measures import duplicate_fraction
from ..models import mlp
from ..removal import Arm, arms
from ..training import train_many
from ..training.options import columns_of
from . import _rules as rules
from ._claims import Claim, Rows, of, ratio, value
from ._common import Descent, file_in, fit_settings, optimizer, seeds_of
from ._growth import Grown, Params


@dataclass(frozen=True, kw_only=True)
class Config(Descent):
    """Settings of the experiment; those that others have too are in `Descent`.

    `steps` are those of the second phase, after growing. Kicks have the two largest of the
    `sigma_ratios`.
    """

    small: int = 6
    """Hidden units of the small network."""
    copies: int = 4
    """How many units each of them becomes."""
    d: int = 10
    """Inputs."""
    samples: int = 500
    """Samples of each training set."""
    teacher_units: int = 16
    """Hidden units of the ReLU networks to be learned, one before and one as new data."""
    batch_size: int = 50
    """Samples per batch."""
    small_steps: int = 600
    """Steps of the small network."""
    shrink_steps: int = 600
    """Steps under the stronger decay."""
    new_steps: int = 600
    """Steps on the new data."""
    stronger: float = 10.0
    """The stronger decay, in units of the usual one."""
    less: float = 0.1
    """The decay of the arms with less of it, likewise, in all phases."""
    higher_rate: float = 3.0
    """Learning rate of one arm in the phase after growing, in units of the usual one."""
    weight_decay: float = 2e-3
    sigma_ratios: tuple[float, ...] = (0.01, 0.1, 1.0)
    fix_shares: tuple[float, ...] = ()
    lr: float = 0.03
    steps: int = 1000


PRESETS = {
    "quick": Config(),
    "full-size": Config(
        small=16,
        d=20,
        samples=2000,
        teacher_units=48,
        batch_size=100,
        small_steps=3000,
        steps=6000,
        shrink_steps=3000,
        new_steps=3000,
        lr=0.01,
        seeds=16,
    ),
}


def compared_arms(config: Config) -> list[Grown]:
    """Return the arms: ways to grow, rivals that act later, kicks, and the remedy."""
    plain = arms.plain_decay(config.weight_decay)
    less = arms.plain_decay(config.less * config.weight_decay)
    kicks = [arms.perturbed_once(config.weight_decay, r) for r in sorted(config.sigma_ratios)[-2:]]
    return [
        Grown(plain),
        Grown(plain, "noisy copies", variant="noisy copies"),
        Grown(plain, "fresh units", variant="fresh units"),
        Grown(plain, "from scratch", variant="from scratch"),
        Grown(plain, rate=config.higher_rate, variant="higher rate"),
        Grown(plain, anew="drawn", variant="drawn anew for new data"),
        Grown(less, variant="less decay"),
        Grown(less, "fresh units", variant="less decay, fresh units"),
        *(Grown(kick) for kick in kicks),
        *(Grown(kick, anew="kicked", variant="again for new data") for kick in kicks),
        *(Grown(arms.syre(config.weight_decay, r)) for r in config.sigma_ratios),
    ]


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train all arms and seeds through all phases, in float64.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder in which an interrupted run leaves its state, and finds it again.

    Returns
    -------
    pandas.DataFrame
        One row per arm and seed: the arm's settings; step, the steps of all phases; small_loss, the
        small network's; and, after each of the phases ``grown``, ``shrunk`` and ``new``, such as
        grown_loss: the mean squared error on new samples of the phase's data, _distinct, the share
        of units that do not copy another one (to a millionth of the largest), and _size, the root
        of the mean square of all that units own.
    """
    return pd.concat(
        [_run_seed(config, seed, checkpoints) for seed in seeds_of(config.seeds)],
        ignore_index=True,
    )


def _run_seed(config: Config, seed: int, checkpoints: Path | None) -> pd.DataFrame:
    """Return the rows of one seed: its teachers, its samples, its small network."""
    old, new = (data_of(config, seed, teacher) for teacher in (0, 1))
    width = config.small * config.copies
    usual, compared = arms.plain_decay(config.weight_decay), compared_arms(config)

    def train(
        phase: str, units: int, data: DataSplit, steps: int, each: Sequence[Arm], rate: float = 1.0
    ) -> list[dict[str, Tensor]]:
        settings = fit_settings(replace(config, steps=steps)) | {
            "seeds": [seed],
            "optimizer": optimizer("sgd", rate * config.lr, config.momentum),
        }
        _, trained = train_many(
            # in float64: what rounding adds to a tie stays far below all that is measured here
            lambda: mlp([config.d, units, 1], "relu").double(),
            (data.x_train, data.y_train),
            each,
            loss=mse_loss,
            batch_size=config.batch_size,
            checkpoint=file_in(checkpoints, f"seed {seed}, {phase}, rate {rate:g}.pt"),
            **settings,
        )
        return [trained[arm, seed] for arm in each]

    (small,) = train("small", config.small, old, config.small_steps, [usual])
    states: list[dict[str, Tensor]] = [{} for _ in compared]
    for rate in sorted({arm.rate for arm in compared}):
        where = [k for k, arm in enumerate(compared) if arm.rate == rate]
        each = [compared[k].growing_from(small) for k in where]
        for k, state in zip(
            where, train("grown", width, old, config.steps, each, rate), strict=True
        ):
            states[k] = state
    rows = [{"small_loss": _error(small, old)} | _measured("grown", s, old) for s in states]

    each = [a.shrinking(s, config.stronger) for a, s in zip(compared, states, strict=True)]
    states = train("shrunk", width, old, config.shrink_steps, each)
    rows = [row | _measured("shrunk", s, old) for row, s in zip(rows, states, strict=True)]

    each = [a.on_new_data(s) for a, s in zip(compared, states, strict=True)]
    states = train("new", width, new, config.new_steps, each)
    rows = [row | _measured("new", s, new) for row, s in zip(rows, states, strict=True)]
    steps = config.small_steps + config.steps + config.shrink_steps + config.new_steps
    return pd.DataFrame(
        columns | {"seed": seed, "step": steps} | row
        for columns, row in zip(columns_of(compared), rows, strict=True)
    )


def data_of(config: Config, seed: int, number: int) -> DataSplit:
    """Return training and test samples of a seed's first or second teacher."""
    teacher = int(torch.randint(2**31, (), generator=generator(seed, "teacher", number)))
    return teacher_regression(
        config.samples,
        2000,
        config.d,
        config.teacher_units,
        "relu",
        seed=teacher,
        teacher_seed=teacher,
        dtype=torch.float64,
    )


@torch.no_grad()
def _error(p: Params, data: DataSplit) -> float:
    hidden = torch.relu(data.x_test @ p["0.weight"].T + p["0.bias"])
    return float(mse_loss(hidden @ p["2.weight"].T + p["2.bias"], data.y_test))


@torch.no_grad()
def _measured(phase: str, p: Params, data: DataSplit) -> dict[str, Any]:
    units = torch.cat([p["0.weight"], p["0.bias"][:, None], p["2.weight"].T], 1)
    return {
        f"{phase}_loss": _error(p, data),
        f"{phase}_distinct": 1 - float(duplicate_fraction(units)),
        f"{phase}_size": float(units.square().mean().sqrt()),
    }


def _is(growth: str = "copies", **settings: Any) -> Rows:
    """Return a selector of one way to grow; no learning rate but the usual, nothing done anew."""
    usual = {"method": "plain decay", "anew": "", "rate": 1.0, "weight_decay": max}
    return of(growth=growth, **(usual | settings))


_COPIES, _NOISY, _FRESH = (_is(growth) for growth in ("copies", "noisy copies", "fresh units"))
_LESS = _is("fresh units", weight_decay=min)
_WEAK, _LARGE = (_is(method="syre", sigma_ratio=ratio) for ratio in (0.1, 1.0))
_KICK = _is(method="perturbed once", sigma_ratio=1.0)
_AGAIN = _is(method="perturbed once", sigma_ratio=1.0, anew="kicked")
_OLD, _NEW = "error after growing", "error on the new data"
# The rules of all comparisons of errors: a tenth better, and as good within a tenth.
_BETTER, _AS_GOOD = rules.below(0.9, partly=1), rules.below(1.1)


CLAIMS = (
    Claim(
        text="Under plain decay copies stay copies: the grown network has no more different units "
        "than the small one had, a quarter of its width.",
        measure=value(_COPIES, "grown_distinct"),
        unit="share of units that do not copy another one",
        holds=rules.between(0, 0.25),
        comment="Each copy gets the gradient of the others.",
    ),
    Claim(
        text="Copies end higher than fresh units.",
        measure=ratio(_FRESH, _COPIES, "grown_loss"),
        unit=f"{_OLD}, fresh units / copies",
        holds=_BETTER,
        comment="Both start from the function of the small network.",
    ),
    Claim(
        text="Syre of 10% parts all copies.",
        measure=value(_WEAK, "grown_distinct"),
        unit="share of units that do not copy another one",
        holds=rules.between(1, 1),
        comment="To a millionth of the largest unit; that says nothing of their use.",
    ),
    Claim(
        text="Syre of 10% makes copies learn.",
        measure=ratio(_WEAK, _COPIES, "grown_loss"),
        unit=f"{_OLD}, syre 10% / plain decay",
        holds=_BETTER,
        comment="The same copies, with a fixed bias.",
    ),
    Claim(
        text="Noise on outgoing weights does as well as syre of 10%.",
        measure=ratio(_NOISY, _WEAK, "grown_loss"),
        unit=f"{_OLD}, noisy copies / syre 10%",
        holds=_AS_GOOD,
        comment="It leaves the function alone, and needs no bias afterwards.",
    ),
    Claim(
        text="Fresh units do better than copies under syre of 10%.",
        measure=ratio(_FRESH, _WEAK, "grown_loss"),
        unit=f"{_OLD}, fresh units / syre 10%",
        holds=_BETTER,
        comment="Fresh units differ from the first step on.",
    ),
    Claim(
        text="A higher learning rate does not part copies.",
        measure=ratio(_is(rate=max), _COPIES, "grown_distinct"),
        unit="different units after growing, higher rate / usual",
        holds=rules.between(1, 1),
        comment="No step of gradient descent leaves a mirror plane, however long it is.",
    ),
    Claim(
        text="After strong decay and on new data, a fixed bias of 100% does better than a kick of "
        "the same size at growth.",
        measure=ratio(_LARGE, _KICK, "new_loss"),
        unit=f"{_NEW}, syre 100% / perturbed once 100%",
        holds=_BETTER,
        comment="Decay has taken the kick away, and cannot take the bias.",
    ),
    Claim(
        text="It does better than a kick that is repeated before the new data.",
        measure=ratio(_LARGE, _AGAIN, "new_loss"),
        unit=f"{_NEW}, syre 100% / kicked again",
        holds=_BETTER,
        comment="A kick at the right moment, of the same size.",
    ),
    Claim(
        text="Parameters that are drawn anew for the new data do as well as a fixed bias of 100%.",
        measure=ratio(_is(anew="drawn"), _LARGE, "new_loss"),
        unit=f"{_NEW}, drawn anew / syre 100%",
        holds=_AS_GOOD,
        comment="Nothing of the old data is of use for the new ones here.",
    ),
    Claim(
        text="The mechanism is the size of weights: strong decay leaves more of them under syre of "
        "100% than under a kick.",
        measure=ratio(_LARGE, _KICK, "shrunk_size"),
        unit="size of what units own after strong decay, syre 100% / perturbed once 100%",
        holds=rules.above(2, partly=1),
        comment="The decay pulls to theta_0, and not to 0.",
    ),
    Claim(
        text="The mechanism is not that twins are kept apart: the units of the kick are different, "
        "too.",
        measure=value(_KICK, "shrunk_distinct"),
        unit="share of units after strong decay that do not copy another one",
        holds=rules.above(0.9),
        comment="To a millionth of the largest unit.",
    ),
    Claim(
        text="Less decay with fresh units does best: better on the new data than syre of 100%.",
        measure=ratio(_LESS, _LARGE, "new_loss"),
        unit=f"{_NEW}, less decay with fresh units / syre 100%",
        holds=_BETTER,
        comment="Where the strong decay can be turned down, no remedy is needed.",
    ),
)
