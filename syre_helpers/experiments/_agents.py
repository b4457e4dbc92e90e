"""Training of agents of stable-baselines3 through all phases of a changing world, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..removal import Arm, Syre
from ..training.callbacks import progress
from ..training.checkpoint import Checkpoint
from ..training.options import columns_of
from . import _ppo as ppo
from ._common import file_in
from ._each import file_name
from ._worlds import Config, change, make_environment


def train_agents(
    config: Config, compared: Sequence[Arm], seeds: Sequence[int], checkpoints: Path | None
) -> pd.DataFrame:
    """Train all arms and seeds, one after another, and measure along the way.

    Parameters
    ----------
    config : Config
        The settings; its arms and seeds do not count.
    compared : sequence of Arm
        What to train.
    seeds : sequence of int
        Of worlds, agents, and the arms' random numbers.
    checkpoints : Path or None
        A folder with one file per arm and seed.

    Returns
    -------
    pandas.DataFrame
        As `run` of the experiment returns it.
    """
    described = list(zip(compared, columns_of(compared), strict=True))
    runs = [(seed, *arm) for seed in seeds for arm in described]
    tables = []
    for k in progress(range(len(runs)), "training"):
        seed, arm, columns = runs[k]
        with ppo.random_state_kept():
            rows = _train(config, arm, seed, file_in(checkpoints, file_name(arm, seed)))
        table = pd.DataFrame([columns | {"seed": seed} | row for row in rows])
        first = config.rollouts // config.log_every
        table["mean_after_phase_1"] = table.reward[first:].expanding().mean()
        for column in ("reward", "rank"):
            at_first = np.resize(table[column][:first], len(table))
            table[f"retained_{column}"] = table[column] / at_first
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _train(config: Config, arm: Arm, seed: int, file: Path | None) -> list[dict[str, Any]]:
    """Train one policy through all phases, from its checkpoint where there is one."""
    environment = make_environment(config)
    try:
        agent = ppo.make_ppo(config, environment, ppo.seed_number(seed))
        checkpoint = Checkpoint(file, config.checkpoint_every, lambda: _identity(config, arm, seed))
        bias = Syre(sigma_ratio=_strongest(config), seed=seed).pull(ppo.network_of(agent)).centre
        ppo.equip(agent, arm, seed)
        rows: list[dict[str, Any]] = []
        if state := checkpoint.load(torch.device(config.device)):
            ppo.restore(agent, state)
            rows = [row for row in state["rows"] if row["phase"] < config.phases]
        steps = config.checkpoint_every * config.n_steps * config.envs
        per_phase = config.rollouts // config.checkpoint_every
        for k in range(agent.num_timesteps // steps, config.phases * per_phase):
            # A generator of NumPy, as all worlds want it, and not the package's own of PyTorch.
            change(environment, config, np.random.default_rng([seed, k // per_phase]))
            # From here on a run that goes on and one that was never interrupted are the same:
            # what a simulator cannot hand over, both begin anew.
            agent.set_random_seed(ppo.seed_number(seed, k))
            agent.set_env(environment, force_reset=True)
            watcher = ppo.watch(config, k // per_phase, bias)
            agent.learn(steps, callback=watcher, reset_num_timesteps=False)
            rows += watcher.rows
            checkpoint.save(ppo.state_of(agent) | {"rows": rows})
        return rows
    finally:
        environment.close()


def _strongest(config: Config) -> float:
    return max(config.sigma_ratios, default=0.0)


# Settings that do not change a run: those of others, and where it is computed.
_FREE = (
    "phases", "seeds", "device", "sigma_ratios", "sigmas", "fix_shares", "fix_kappas",
    "pull_to_start", "tuning_seeds", "lrs", "decays", "vanilla_lrs",
)  # fmt: skip


def _identity(config: Config, arm: Arm, seed: int) -> dict[str, str]:
    """Return the settings that must agree for a run to go on; phases and seeds may be added."""
    settings = asdict(config)
    for free in _FREE:
        del settings[free]
    settings |= {"arm": arm, "seed": seed, "strongest syre": _strongest(config)}
    return {name: repr(setting) for name, setting in settings.items()}
