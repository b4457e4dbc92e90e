"""What syre costs in reinforcement learning: a whole iteration of PPO, with and without it.

    python benchmarks/ppo_cost.py            a minute and a half; writes results/ppo_cost.csv
                                             and .json
    python benchmarks/ppo_cost.py --quick    seconds; prints only, unless --out names a folder

PPO of stable-baselines3 as in the quick run of the experiment `reinforcement`: an iteration asks
128 copies of a light environment for four steps each and updates small networks four times. The
forms take turns, in a new random order in every round, and a ratio compares two of them within a
round; that of "built-in decay again" says what noise alone does. Times are those of the processor,
on one thread. The penalty is left out, since PPO's loss cannot be added to from outside.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import step_cost
import torch
from network_cost import clock
from step_cost import BASELINE, DECAY, SIGMA_D, SIGMA_RATIO

import syre_helpers as sh
from syre_helpers.experiments import reinforcement

FORMS = (
    BASELINE,
    f"{BASELINE} again",
    "no decay",
    "attach",
    "attach + D",
    "attach, computed",
    "parametrize",
)


@dataclass(frozen=True)
class Settings:
    """What was run."""

    widths: tuple[int, ...] = (64, 64)  # stable-baselines3's own
    seconds: float = 80.0
    threads: int = 1
    device: str = "cpu"


QUICK = Settings(seconds=1.0)


@dataclass(frozen=True)
class Row:
    """One line of the table; low and high are the quartiles."""

    form: str
    parameters: int
    ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: int


def set_up(form: str, settings: Settings) -> tuple[Callable[[], None], int]:
    """Return a function that runs one iteration, and how many parameters there are."""
    config = reinforcement.Config(widths=settings.widths, device=settings.device)
    model = reinforcement.make_ppo(config, reinforcement.make_environment(config), seed=0)
    policy = model.policy
    syre = sh.Syre(DECAY, SIGMA_RATIO, sigma_D=SIGMA_D if form == "attach + D" else 0.0)
    own = DECAY if form.startswith(BASELINE) or form == "parametrize" else 0.0
    if form == "parametrize":
        syre.parametrize(policy)
    policy.optimizer = torch.optim.AdamW(
        policy.parameters(), lr=config.lr, eps=1e-5, weight_decay=own, fused=True
    )
    if form.startswith("attach"):
        syre.attach(policy.optimizer, policy, store=form != "attach, computed")
    steps = config.n_steps * config.envs

    def iterate() -> None:
        model.learn(steps, reset_num_timesteps=False)

    return iterate, sum(p.numel() for p in policy.parameters())


def measure(settings: Settings) -> list[Row]:
    """Time all forms in turns."""
    made = {form: set_up(form, settings) for form in FORMS}
    for iterate, _ in made.values():
        iterate()
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    order, shuffle = list(FORMS), random.Random(0)
    end = time.perf_counter() + settings.seconds
    while time.perf_counter() < end or len(times[BASELINE]) < 3:
        shuffle.shuffle(order)
        for form in order:
            times[form].append(1e3 * clock(made[form][0], settings))
    rows = []
    for form in FORMS:
        ratios = [a / b for a, b in zip(times[form], times[BASELINE], strict=True)]
        low, middle, high = (round(q, 4) for q in statistics.quantiles(ratios, n=4))
        ms = round(statistics.median(times[form]), 4)
        rows.append(Row(form, made[form][1], ms, middle, low, high, len(ratios)))
    return rows


def table(rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = ["| form | iteration | over built-in decay |", "| --- | ---: | ---: |"]
    for r in rows:
        lines.append(
            f"| {r.form} | {r.ms:.1f} ms | {r.ratio:.2f} ({r.ratio_low:.2f}–{r.ratio_high:.2f}) |"
        )
    return "\n".join(lines)


def main() -> int:
    """Read the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few iterations")
    parser.add_argument("--seconds", type=float, help="how long the iterations are timed, in all")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--out", type=Path, help="folder to write to; 'results' unless --quick")
    options = parser.parse_args()
    changes: dict[str, object] = {"device": str(sh.pick_device(options.device, quiet=True))}
    if options.seconds is not None:
        changes["seconds"] = options.seconds
    settings = Settings(**{**asdict(QUICK if options.quick else Settings()), **changes})
    torch.set_num_threads(settings.threads)
    begin = time.perf_counter()
    rows = measure(settings)
    source = step_cost.provenance(settings, options.quick, time.perf_counter() - begin, "ppo_cost")
    print(table(rows))
    folder = options.out or (None if options.quick else Path(__file__).parents[1] / "results")
    if folder is not None:
        step_cost.write(folder, rows, source, "ppo_cost")
        print(f"\nwritten: ppo_cost.csv and ppo_cost.json in {folder.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
