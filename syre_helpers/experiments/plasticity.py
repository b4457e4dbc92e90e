"""Loss of plasticity: digits whose pixels are shuffled anew for every task, one task after another.

Each task is as hard as the one before. A network that has lost its plasticity learns the later ones
worse than the first ones did. Without ``tuning_seeds`` every arm runs at a setting fixed in
advance. With them every arm is tuned first, all with the same number of settings, and the best
setting of each runs again with seeds, tasks and batches that the tuning has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from ..removal import Arm, arms
from . import _rules as rules
from ._claims import Claim, difference, of, rows_of, value
from ._common import seeds_of
from ._plasticity_arms import Setting, compared_arms, controls, grid
from ._plasticity_training import train
from ._tasks import Config, Stream

_FIXED = Config(
    weight_decay=0.01,
    sigma_ratios=(0.01, 0.3, 1.0),
    sigmas=(0.01, 0.1),
    fix_shares=(0.125, 0.5),
    fix_kappas=(0.25,),
)
# At a learning rate of 0.05 nothing is lost within eight tasks, not even by vanilla. So it is 0.1
# here, at which vanilla's norm grows without end.
_MNIST = replace(
    _FIXED, data="mnist", tasks=12, steps=230, lr=0.1, sigma_ratios=(0.01, 1.0), fix_shares=(0.125,)
)
PRESETS = {
    # With fewer tasks than the tuned run, so that a page can run it.
    "quick": replace(_FIXED, tasks=8),
    "tuned": Config(tuning_seeds=3),
    # The pull is a step of its own: 1 at a learning rate of 0.002 takes 0.2% at a step.
    "tuned-adamw": Config(
        optimizer="adamw",
        tuning_seeds=3,
        lr=2e-3,
        weight_decay=1.0,
        lrs=(2e-3, 5e-3),
        decays=(0.3, 1.0, 3.0, 10.0),
        vanilla_lrs=(1e-4, 2e-4, 5e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3),
    ),
    "mnist": _MNIST,
    # A convolutional network, as in the paper, on digits, sized to be run. The larger learning rate
    # is for the same reason as on MNIST.
    "cnn": replace(_FIXED, network="cnn", tasks=12, lr=0.1),
    # The paper names the data, a CNN, and a collapse of vanilla after about the sixth task. Its
    # sizes, optimizer, decay and sigma_0 are not known. The recorded run has a fully connected
    # network, as in "mnist", four times as wide. One pass over all 60,000 images a task, and twice
    # as many tasks as vanilla is said to survive. Recorded by version 0.1, with its arms, and with
    # the same tasks for all seeds.
    "full-size": replace(
        _MNIST,
        steps=468,
        width=128,
        batch_size=128,
        sigma_ratios=(0.01, 0.3, 1.0),
        sigmas=(),
        fix_shares=(0.1,),
    ),
}


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
        The last step's rows of `run`.
    """
    seeds = range(config.tuning_seeds)
    places = range(len(grid(config)))
    table = _train_settings(config, lambda s: grid(config, s), places, seeds, "tuning", checkpoints)
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
        One row per arm, seed and task: step; train_loss on the last batch; accuracy on all test
        images of the present task; dead, the share of hidden units that are silent on the first 256
        of them; rank, the effective rank of the last hidden layer on these; norm of all parameters;
        task, counted from 1; score, the mean accuracy of the last five tasks; and retained_rank,
        the rank over the highest rank at the end of any task so far. After a tuning, lr says what
        was chosen, and stage is "tuning" for all that was tried, "final" for what was chosen.
    """
    if config.tuning_seeds:
        return _run_tuned(config, checkpoints)
    seeds = seeds_of(config.seeds)
    return train(config, partial(compared_arms, config), seeds, checkpoints=checkpoints)


def _run_tuned(config: Config, checkpoints: Path | None) -> pd.DataFrame:
    tried = tune(config, checkpoints)
    tunable = grid(config)
    best: dict[str, tuple[float, int]] = {}
    for place, setting in enumerate(tunable):
        score = rows_of(tried[tried.lr == setting.lr], setting.arm).score.fillna(0).mean()
        if setting.group not in best or score >= best[setting.group][0]:
            best[setting.group] = score, place
    remedy, lr = tunable[best["syre"][1]]
    assert isinstance(remedy, arms.syre)

    def chosen(stream: Stream) -> list[Setting]:
        settings = grid(config, stream)
        winners = [settings[place] for _, place in best.values()]
        return winners + [Setting(arm, lr) for arm in controls(config, remedy)]

    fresh = [config.tuning_seeds + seed for seed in seeds_of(config.seeds)]
    places = range(len(chosen(Stream(config))))
    final = _train_settings(config, chosen, places, fresh, "final", checkpoints)
    return pd.concat([final, tried], ignore_index=True)


def _train_settings(
    config: Config,
    settings: Callable[[Stream], Sequence[Setting]],
    places: Sequence[int],
    seeds: Sequence[int],
    stage: str,
    checkpoints: Path | None,
) -> pd.DataFrame:
    """Train settings together that share a learning rate."""
    rates = [setting.lr for setting in settings(Stream(config))]
    tables = []
    for lr in sorted(set(rates)):
        alike = [place for place in places if rates[place] == lr]

        def compared(stream: Stream, alike: Sequence[int] = alike) -> list[Arm]:
            return [settings(stream)[place].arm for place in alike]

        table = train(config, compared, seeds, lr, checkpoints, f"{stage} lr {lr:g}")
        tables.append(table.assign(lr=lr, stage=stage))
    return pd.concat(tables, ignore_index=True)


class _best(of):
    """The selector of a method's setting with the best score, the tuning left out.

    A `sigma_ratio` chooses among syre's strengths; None those that are one number for all.
    """

    def __init__(self, method: str, **settings: float | None) -> None:
        super().__init__(method=method, **settings)

    def __call__(self, table: pd.DataFrame) -> pd.DataFrame:
        own = table[table.stage != "tuning"] if "stage" in table else table
        for name, wanted in self.settings.items():
            own = own[own[name].isna() if wanted is None else own[name] == wanted]
        return of(arm=own.groupby("arm").score.mean().idxmax())(own)


_LEARNS = rules.above(0.92, partly=0.85)
_CLEARLY_BETTER = rules.above(0.04, partly=0.02)
_AS_WELL = rules.above(-0.02, partly=-0.06)
_RETAINED = "rank of the features at the end over its highest value before"
_LATE_TASKS = "accuracy on the last five tasks"
_OVER_DECAY, _OVER_SYRE = (
    f"{_LATE_TASKS}, minus that of plain decay",
    f"{_LATE_TASKS}, minus that of syre",
)
_NOT_KNOWN = "its sigma_0 is not known"
# Recorded before these arms were there: the full-size run.
_WITH_ALL_ARMS = ("quick", "tuned", "tuned-adamw", "mnist", "cnn")

CLAIMS = (
    Claim(
        text="Without any decay, the features lose their rank over the tasks.",
        paper="vanilla collapses after about the sixth task",
        measure=value(_best("vanilla"), "retained_rank"),
        unit=_RETAINED,
        holds=rules.below(0.5, partly=0.75),
        comment="The rank falls task by task; accuracy falls with it.",
    ),
    Claim(
        text="Under syre the features keep their rank.",
        paper="syre stays near full rank",
        measure=value(_best("syre"), "retained_rank"),
        unit=_RETAINED,
        holds=rules.above(0.85, partly=0.7),
        comment="For the best sigma_0 tried, which is as large as the initial weights themselves.",
    ),
    Claim(
        text="Syre of the best strength learns the last tasks better than vanilla.",
        paper="vanilla collapses, syre does not",
        measure=difference(_best("syre"), _best("vanilla"), "score"),
        unit=f"{_LATE_TASKS}, minus that of vanilla",
        holds=_CLEARLY_BETTER,
        comment="Vanilla's learning rate is tuned in the tuned runs, and that of all arms in the "
        "others.",
    ),
    Claim(
        text="With a large bias, syre still learns well after many tasks.",
        paper="shown in a figure",
        measure=value(_best("syre"), "score"),
        unit=_LATE_TASKS,
        holds=_LEARNS,
        comment="Accuracy at the end of each task, on test images.",
    ),
    Claim(
        text="With a large bias, syre learns the last tasks better than plain decay.",
        measure=difference(_best("syre"), _best("plain decay"), "score"),
        unit=_OVER_DECAY,
        holds=_CLEARLY_BETTER,
        comment="After equal tuning in the tuned runs. In the others the best of several sigma_0 "
        "stands against one plain decay.",
    ),
    Claim(
        text="At its default strength of 1% syre learns the last tasks better than plain decay.",
        paper=_NOT_KNOWN,
        measure=difference(_best("syre", sigma_ratio=0.01), _best("plain decay"), "score"),
        unit=_OVER_DECAY,
        holds=_CLEARLY_BETTER,
        comment="A bias this small leaves saddles, but decay swallows the network all the same.",
        presets=_WITH_ALL_ARMS,
    ),
    Claim(
        text="With a sigma_0 of 0.01 or 0.1 for all parameters, the better of the two, syre learns "
        "the last tasks better than plain decay.",
        paper=_NOT_KNOWN,
        measure=difference(_best("syre", sigma_ratio=None), _best("plain decay"), "score"),
        unit=_OVER_DECAY,
        holds=_CLEARLY_BETTER,
        comment="These are the two strengths of the paper's SimCLR. In the narrow layers of these "
        "networks 0.1 is more than half of the usual initial std.",
        presets=_WITH_ALL_ARMS,
    ),
    Claim(
        text="A pull back to the initial weights does as well as syre.",
        measure=difference(_best("pull to start"), _best("syre"), "score"),
        unit=_OVER_SYRE,
        holds=_AS_WELL,
        comment="If its centre is as large as syre's, so what helps is a centre of full size.",
    ),
    Claim(
        text="LayerNorm does as well as syre.",
        measure=difference(_best("LayerNorm"), _best("syre"), "score"),
        unit=_OVER_SYRE,
        holds=_AS_WELL,
        comment="Another network, without any centre; the better of vanilla and plain decay.",
        presets=_WITH_ALL_ARMS,
    ),
    Claim(
        text="Continual backpropagation does as well as syre.",
        measure=difference(_best("continual backprop"), _best("syre"), "score"),
        unit=_OVER_SYRE,
        holds=_AS_WELL,
        comment="Its use of a unit is that on one batch, see the arm. On MNIST, at that learning "
        "rate and without decay, one of eight networks diverges.",
        presets=("quick", "tuned", "tuned-adamw", "cnn"),
    ),
    Claim(
        text="ReDo does as well as syre.",
        measure=difference(_best("ReDo"), _best("syre"), "score"),
        unit=_OVER_SYRE,
        holds=_AS_WELL,
        comment="With its reset of the optimizer's moments.",
        presets=_WITH_ALL_ARMS,
    ),
    Claim(
        text="W-fix does as well as syre.",
        measure=difference(_best("W-fix"), _best("syre"), "score"),
        unit=_OVER_SYRE,
        holds=_AS_WELL,
        comment="Freezing weights of Lim et al.'s size, biases free.",
        presets=_WITH_ALL_ARMS,
    ),
    Claim(
        text="A bias of the same norm that respects the symmetry does not help.",
        measure=value(_best("symmetric bias"), "score"),
        unit=_LATE_TASKS,
        holds=rules.below(0.5, partly=0.7),
        comment="All units of a layer are pulled to the same place.",
        presets=("quick", "tuned", "tuned-adamw", "mnist", "full-size"),
    ),
)
