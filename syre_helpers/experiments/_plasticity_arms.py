"""The arms of the loss of plasticity: at fixed settings, and what a tuning may choose from."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from ..removal import Arm, arms, redo
from ._common import standard_arms
from ._tasks import Config, Stream, all_alike

LARGER = 3**0.5
"""``nn.Linear`` starts at this fraction of the size of syre's bias with a ratio of 1."""


def compared_arms(config: Config, stream: Stream | None = None) -> list[Arm]:
    """Return the arms at fixed settings: the remedy, its rivals, and the controls.

    Parameters
    ----------
    config : Config
        The settings.
    stream : Stream, optional
        Where ReDo finds its batches. Default: a new one.

    Returns
    -------
    list of Arm
        One setting per arm.
    """
    stream = Stream(config) if stream is None else stream
    decay = config.weight_decay
    rivals = [
        arms.pull_to_start(decay),
        arms.pull_to_start(decay, scale=LARGER),
        arms.shrink_and_perturb(0.2, 0.1, every=config.steps),
        redo(0.1, config.steps, stream.activations),
    ]
    return [*standard_arms(config, decay, *rivals), *controls(decay, max(config.sigma_ratios))]


def controls(decay: float, ratio: float) -> list[Arm]:
    """Return the controls of syre at a strength: a symmetric bias, and one drawn anew."""
    return [
        arms.symmetric_bias(decay, all_alike, ratio),
        arms.resampled_bias(decay, ratio, every=10),
    ]


class Setting(NamedTuple):
    """One setting that the tuning tries: an arm at a learning rate."""

    arm: Arm
    lr: float


def grid(config: Config, stream: Stream | None = None) -> list[Setting]:
    """Return the settings that the tuning tries: eight per method.

    The ranges were moved once after a first look, where a rival was best at the edge of its own.

    Parameters
    ----------
    config : Config
        The settings.
    stream : Stream, optional
        Where ReDo finds its batches. Default: a new one.

    Returns
    -------
    list of Setting
        Method by method within a learning rate.
    """
    stream = Stream(config) if stream is None else stream
    decays, task = config.decays, config.steps
    middle = decays[1:3]
    tried: list[Arm] = [
        *(arms.plain_decay(decay) for decay in decays),
        *(arms.weight_fix(share, decay) for share, decay in product((0.3, 0.5), middle)),
        *(arms.pull_to_start(d, scale=scale) for scale, d in product((1.0, LARGER), middle)),
        *(arms.shrink_and_perturb(s, p, every=task) for s, p in product((0.1, 0.2), (0.2, 0.4))),
        *(
            redo(tau, every, stream.activations)
            for tau, every in product((0.02, 0.1), (max(1, task // 4), task))
        ),
        *(arms.syre(decay, ratio) for ratio, decay in product((0.3, 1.0), middle)),
    ]
    alone = [Setting(arms.vanilla(), lr) for lr in config.vanilla_lrs]
    return alone + [Setting(arm, lr) for lr in config.lrs for arm in tried]
