"""What syre costs in reinforcement learning: a whole iteration of PPO, with and without it.

    python benchmarks/ppo_cost.py            a minute and a half; writes results/ppo_cost.csv
                                             and .json
    python benchmarks/ppo_cost.py --quick    seconds; prints only, unless --out names a folder

PPO of stable-baselines3 as in the quick run of the experiment `reinforcement`: an iteration asks
128 copies of a light environment for four steps each and updates small networks four times. The
ratio of "built-in decay again" says what noise alone does. Times are those of the processor, on one
thread. The penalty is left out, since PPO's loss cannot be added to from outside.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import _harness
import torch
from _harness import BASELINE, Row

from syre_helpers.experiments import reinforcement

CONSTANTS = _harness.CONSTANTS
FORMS = (
    BASELINE,
    _harness.AGAIN,
    "no decay",
    "attach",
    "attach + D",
    "attach, computed",
    "parametrize",
)


@dataclass(frozen=True, kw_only=True)
class Settings(_harness.Settings):
    """What was run."""

    widths: tuple[int, ...] = (64, 64)  # stable-baselines3's own
    seconds: float = 80.0


FULL, QUICK = Settings(), Settings(seconds=1.0)


def iteration(form: str, settings: Settings) -> tuple[Callable[[], object], int]:
    """Return a function that runs one iteration, and the number of parameters."""
    config = reinforcement.Config(widths=settings.widths, device=settings.device)
    model = reinforcement.make_ppo(config, reinforcement.make_environment(config), seed=0)
    policy = model.policy
    policy.optimizer, _ = _harness.decaying(
        form,
        policy,
        lambda p, decay: torch.optim.AdamW(
            p, lr=config.lr, eps=1e-5, weight_decay=decay, fused=True
        ),
    )
    steps = config.n_steps * config.envs
    parameters = sum(p.numel() for p in policy.parameters())
    return lambda: model.learn(steps, reset_num_timesteps=False), parameters


def measure(settings: Settings) -> list[Row]:
    """Return one row per form, timed in turns."""
    made = {form: iteration(form, settings) for form in FORMS}
    for iterate, _ in made.values():
        iterate()  # makes the optimizer's state, and theta_0
    times = _harness.in_turns(
        made, lambda one: _harness.milliseconds(one[0], settings.device), settings.seconds
    )
    return [
        {
            "form": form,
            "parameters": made[form][1],
            **_harness.timed(times[form], times[BASELINE]),
        }
        for form in FORMS
    ]


def report(rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = [[r["form"], f"{r['ms']:.1f} ms", _harness.ratio_cell(r)] for r in rows]
    return _harness.markdown(["form", "iteration", "over built-in decay"], lines)


if __name__ == "__main__":
    sys.exit(_harness.run(sys.modules[__name__]))
