"""The changing worlds of the reinforcement learning, and the settings of the experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._common import Decayed, Seeds

PORTER = "porter"
_MISSING = (
    "the environment {!r} needs packages that are not here; install the extra: "
    "pip install 'syre_helpers[rl]'"
)


@dataclass(frozen=True, kw_only=True)
class Config(Decayed):
    """Settings of the experiment; those that others have too are in `Decayed`."""

    environment: str = PORTER
    """"porter", or a name that gymnasium knows whose floor has a friction: "Ant-v5"."""
    envs: int = 128
    """Copies of the environment that are asked together."""
    phases: int = 4
    """Phases that the world goes through."""
    rollouts: int = 6
    """Rollouts per phase."""
    log_every: int = 2
    """Rollouts between two measurements; a divisor of `rollouts`."""
    checkpoint_every: int = 6
    """Rollouts between two checkpoints, a divisor of `rollouts`. At a checkpoint the environments
    start anew with fresh seeds, whether a file is written or not."""
    n_steps: int = 4
    """Steps of each copy per rollout."""
    batch_size: int = 512
    """Samples per update."""
    epochs: int = 4
    """Passes over each rollout."""
    lr: float = 0.03
    """Learning rate of Adam."""
    gamma: float = 0.8
    """Discount of later rewards."""
    gae_lambda: float = 0.95
    """Decay of the generalised advantage estimate."""
    clip: float = 0.2
    """Clipping range of PPO's probability ratios."""
    entropy: float = 0.01
    """Weight of the policy's entropy in the loss."""
    widths: tuple[int, ...] = (32, 32)
    """Hidden layers, ReLU, of the policy and of the value network."""
    weight_decay: float = 1.0
    """Decoupled: each update takes off ``lr * weight_decay``."""
    sigma_ratios: tuple[float, ...] = (0.01, 1.0)
    fix_shares: tuple[float, ...] = ()
    pull_to_start: bool = True
    """Compare decay towards the initial parameters, too."""
    tuning_seeds: tuple[int, ...] = ()
    """Seeds with which learning rate and decay of each method are tuned first; those of the run are
    others."""
    lrs: tuple[float, ...] = ()
    """Learning rates that the tuning tries, for all methods with a decay."""
    decays: tuple[float, ...] = ()
    """Decays that the tuning tries with each of these; for W-fix it tries the kappas instead."""
    vanilla_lrs: tuple[float, ...] = ()
    """Learning rates that it tries without decay: as many as there are such pairs."""
    friction: tuple[float, float] = (0.02, 2.0)
    """Lowest and highest sliding friction; each phase draws one, evenly on a logarithmic scale."""
    seeds: Seeds = 8
    device: str = "cpu"
    """Device to train on; the CPU is the faster one for networks of this size."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("log_every", "checkpoint_every"):
            every = getattr(self, name)
            if every < 1 or self.rollouts % every:
                raise ValueError(f"{name}={every} must divide rollouts={self.rollouts}")


def stable_baselines() -> Any:
    try:
        import stable_baselines3
    except ImportError as error:
        raise ImportError(_MISSING.format(PORTER)) from error
    return stable_baselines3


def make_environment(config: Config) -> Any:
    """Return the vectorised environment, as stable-baselines3 wants it.

    Parameters
    ----------
    config : Config
        Names the environment, and says how many copies to make.

    Returns
    -------
    stable_baselines3.common.vec_env.VecEnv
        To be closed by the caller.

    Raises
    ------
    ImportError
        With the extra to install.
    """
    stable_baselines()
    if config.environment == PORTER:
        from ._porter import Porter

        return Porter(config.envs)
    import gymnasium
    from stable_baselines3.common.vec_env import DummyVecEnv

    try:
        return DummyVecEnv([lambda: gymnasium.make(config.environment)] * config.envs)
    except gymnasium.error.DependencyNotInstalled as error:
        raise ImportError(_MISSING.format(config.environment)) from error


def change(environment: Any, config: Config, generator: np.random.Generator) -> None:
    """Begin another phase: another order of wires, or another friction.

    MuJoCo lets two bodies slide with the larger of their two frictions, so all bodies get the new
    one, feet and floor.

    Parameters
    ----------
    environment : stable_baselines3.common.vec_env.VecEnv
        From `make_environment`; changed in place.
    config : Config
        Holds the range of the friction.
    generator : numpy.random.Generator
        Draws the order or the friction.
    """
    if config.environment == PORTER:
        environment.change(generator)
        return
    low, high = np.log(config.friction)
    sliding = np.exp(generator.uniform(low, high))
    for one in environment.envs:
        one.unwrapped.model.geom_friction[:, 0] = sliding
