r"""Reinforcement learning in a world that changes: PPO of stable-baselines3 with syre attached.

The policy is trained on, without a restart, through phases. In the paper's setting an ant walks on
a floor whose friction changes; in the quick one a camera's wires are plugged in another order. Does
the policy keep learning, and does its hidden layer keep its rank?
"""

from __future__ import annotations

import dataclasses
import io
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from ..measures import dead_fraction, effective_rank
from ..removal import Arm, Syre, arms, attach_pull
from ..training.callbacks import progress
from ._claims import Claim
from ._common import Seeds, seeds_of

if TYPE_CHECKING:
    import pandas as pd

PORTER = "porter"


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Parameters
    ----------
    environment : str
        "porter", or a name that gymnasium knows whose floor has a friction: "Ant-v5".
    envs : int
        Copies of the environment that are asked together. Default 128.
    phases, rollouts : int
        How many phases the world goes through, of how many rollouts each. Defaults 4 and 6.
    log_every, checkpoint_every : int
        Rollouts between two measurements, and between two checkpoints; at a checkpoint the
        environments start anew with fresh seeds, whether a file is written or not. Both divide
        `rollouts`. Defaults 2 and 6.
    n_steps, batch_size, epochs : int
        Of PPO: steps of each copy in a rollout, samples in an update, passes over a rollout.
    lr, gamma, gae_lambda, clip, entropy : float
        Of PPO, under Adam.
    widths : tuple of int
        Hidden layers, ReLU, of policy and value network each. Default (32, 32).
    weight_decay : float
        Decoupled: each update takes off ``lr * weight_decay``. Default 1.
    sigma_ratios, fix_shares : tuple of float
        Strengths of syre, and shares of W-fix, to compare.
    pull_to_start : bool
        Compare decay towards the initial weights, too. Default True.
    friction : tuple of float
        Lowest and highest sliding friction; each phase draws one, evenly on a logarithmic scale.
    seeds : int or tuple of int
        Number of seeds, counted from 0, or the seeds themselves. Default 8.
    device : str
        Default "cpu", which is the faster one for networks of this size.
    """

    environment: str = PORTER
    envs: int = 128
    phases: int = 4
    rollouts: int = 6
    log_every: int = 2
    checkpoint_every: int = 6
    n_steps: int = 4
    batch_size: int = 512
    epochs: int = 4
    lr: float = 0.03
    gamma: float = 0.8
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    widths: tuple[int, ...] = (32, 32)
    weight_decay: float = 1.0
    sigma_ratios: tuple[float, ...] = (0.01, 1.0)
    fix_shares: tuple[float, ...] = ()
    pull_to_start: bool = True
    friction: tuple[float, float] = (0.02, 2.0)
    seeds: Seeds = 8
    device: str = "cpu"


# What the paper does not say, to our knowledge: the size of the networks, PPO's settings, and the
# schedule of the friction. Networks, learning rate, rollouts and the two million steps a phase are
# those of Dohare et al. (2024), whose ant the paper's is modelled on; the strength of the decay is
# chosen here (1 / (lr * weight_decay) = 10,000 updates is the memory of the pull).
_ANT = Config(
    environment="Ant-v5",
    envs=1,
    phases=10,
    rollouts=976,
    log_every=61,
    checkpoint_every=61,
    n_steps=2048,
    batch_size=128,
    epochs=10,
    lr=1e-4,
    gamma=0.99,
    entropy=0.0,
    widths=(256, 256),
    sigma_ratios=(0.01, 0.1, 1.0),
    fix_shares=(0.1,),
)

PRESETS = {
    "quick": Config(),
    # Everything that the quick run leaves out to be quick: more phases, more arms.
    "quick-long": Config(phases=20, sigma_ratios=(0.01, 0.1, 1.0), fix_shares=(0.1, 0.3)),
    "paper": _ANT,
    # 82,000 steps an agent, about twelve minutes on one core: far too short for what the paper
    # reports.
    "ant-short": dataclasses.replace(
        _ANT,
        envs=8,
        phases=4,
        rollouts=10,
        log_every=5,
        checkpoint_every=10,
        n_steps=256,
        batch_size=256,
        epochs=4,
        lr=5e-4,
        sigma_ratios=(0.1,),
        fix_shares=(),
        pull_to_start=False,
        seeds=3,
    ),
}


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms of the experiment: the remedy, its rivals, and the controls."""
    decay = config.weight_decay
    return [
        arms.vanilla(),
        arms.plain_decay(decay),
        *([arms.pull_to_start(decay)] if config.pull_to_start else []),
        *(arms.weight_fix(s, decay).renamed(f"W-fix {s:.0%}") for s in config.fix_shares),
        *(arms.syre(decay, s).renamed(f"syre {s:g}") for s in config.sigma_ratios),
    ]


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train all arms and seeds, one after another, and measure along the way.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder with one file an arm and seed, written at each checkpoint, to go on from.

    Returns
    -------
    pandas.DataFrame
        Columns arm, seed, step (of all copies together), phase (counted from 0), and, since the
        row before: return (mean over the episodes that ended; NaN if none did) and reward (mean a
        step). later is the mean reward a step of all phases after the first, so far (NaN before);
        kept and rank_kept are reward and rank over those at the same place of the first phase (kept
        says nothing where rewards are negative).
        Of the policy's last hidden layer on the rollout's observations: rank (effective
        rank), dead (share of units that do not vary), rank_shifted (rank after the bias of the
        strongest syre is added to the weights: what noise alone can do). norm is the Euclidean
        norm of the policy's and the value network's parameters.

    Raises
    ------
    ImportError
        If stable-baselines3 is missing, or MuJoCo where the ant needs it.
    ValueError
        If a checkpoint belongs to another run, or the settings do not divide.
    """
    import pandas as pd

    _check(config)
    pairs = [(arm, seed) for seed in seeds_of(config.seeds) for arm in compared_arms(config)]
    rows: list[dict[str, Any]] = []
    for k in progress(range(len(pairs)), "training"):
        arm, seed = pairs[k]
        file = None if checkpoints is None else checkpoints / f"{arm.name}, seed {seed}.pt"
        with _random_state_kept():
            rows += _train(config, arm, seed, file)
    table = pd.DataFrame(rows)
    runs = table.groupby(["arm", "seed"], sort=False)
    table["later"] = runs.reward.transform(lambda reward: _since_first_phase(reward, config))
    table["kept"] = runs.reward.transform(lambda reward: _against_first_phase(reward, config))
    table["rank_kept"] = runs["rank"].transform(lambda rank: _against_first_phase(rank, config))
    return table


def _since_first_phase(reward: pd.Series, config: Config) -> pd.Series:
    return reward.iloc[config.rollouts // config.log_every :].expanding().mean()


def _against_first_phase(values: pd.Series, config: Config) -> pd.Series:
    first = values.to_numpy()[: config.rollouts // config.log_every]
    return values / np.resize(first, len(values))


def make_environment(config: Config) -> Any:
    """Return the vectorised environment, as stable-baselines3 wants it.

    Raises
    ------
    ImportError
        With the extra to install.
    """
    _sb3()
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
    """
    if config.environment == PORTER:
        environment.change(generator)
        return
    low, high = np.log(config.friction)
    sliding = np.exp(generator.uniform(low, high))
    for one in environment.envs:
        one.unwrapped.model.geom_friction[:, 0] = sliding


def make_ppo(config: Config, environment: Any, seed: int) -> Any:
    """Return a new PPO of stable-baselines3, with ReLU networks of the configured widths."""
    model = _sb3().PPO(
        "MlpPolicy",
        environment,
        n_steps=config.n_steps,
        batch_size=config.batch_size,
        n_epochs=config.epochs,
        learning_rate=config.lr,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip,
        ent_coef=config.entropy,
        policy_kwargs={
            "net_arch": list(config.widths),
            "activation_fn": torch.nn.ReLU,
            "optimizer_kwargs": {"eps": 1e-5, "fused": True},
        },
        device=config.device,
        seed=seed,
    )
    return _without_log(model)


def in_network(name: str, parameter: Tensor) -> bool:
    """Tell weights and biases from the width of a Gaussian policy's noise, which has no mirror."""
    return name != "log_std"


def features(model: Any, observations: Tensor, shift: Mapping[str, Tensor] | None = None) -> Tensor:
    """Return the policy's last hidden layer, one row an observation.

    Parameters
    ----------
    model : stable_baselines3.PPO
        With an MlpPolicy.
    observations : Tensor
        Shape (samples, values).
    shift : mapping of str to Tensor, optional
        Added to the parameters for the time of the call, by canonical name.
    """
    network = model.policy.mlp_extractor.policy_net
    named = dict(network.named_parameters())
    prefix = "mlp_extractor.policy_net."
    moved = {n: p if shift is None else p + shift[prefix + n] for n, p in named.items()}
    with torch.no_grad():
        return functional_call(network, moved, (observations,))


_MISSING = (
    "the environment {!r} needs packages that are not here; install the extra: "
    "pip install 'syre_helpers[rl]'"
)


def _sb3() -> Any:
    try:
        import stable_baselines3
    except ImportError as error:
        raise ImportError(_MISSING.format(PORTER)) from error
    return stable_baselines3


def _without_log(model: Any) -> Any:
    """Give a PPO a logger that writes nothing: its own makes a folder at each call of learn."""
    from stable_baselines3.common.logger import Logger

    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def _check(config: Config) -> None:
    for name in ("log_every", "checkpoint_every"):
        every = getattr(config, name)
        if every < 1 or config.rollouts % every:
            raise ValueError(f"{name}={every} must divide rollouts={config.rollouts}")


def _train(config: Config, arm: Arm, seed: int, file: Path | None) -> list[dict[str, Any]]:
    """Train one policy through all phases, from its checkpoint where there is one."""
    environment = make_environment(config)
    try:
        model = make_ppo(config, environment, _number(seed))
        initial = {name: p.detach().clone() for name, p in _in_network(model).items()}
        saved = _load(file, config, arm, seed)
        done, rows = (saved["done"], saved["rows"]) if saved else (0, [])
        if saved:
            packed = io.BytesIO(saved["model"].numpy().tobytes())
            model = _without_log(_sb3().PPO.load(packed, environment, device=config.device))
        elif arm.start is not None:
            _write(_in_network(model), arm.start(initial, seed))
        _attach(arm, config, model, initial, seed)
        bias = Syre(sigma_ratio=max(config.sigma_ratios, default=0.0), seed=seed)
        shift = bias.pull(dict(model.policy.named_parameters())).centre
        length = config.checkpoint_every * config.n_steps * config.envs
        for k in range(done, config.phases * config.rollouts // config.checkpoint_every):
            phase = k * config.checkpoint_every // config.rollouts
            change(environment, config, np.random.default_rng([seed, phase]))
            # From here on a run that goes on and one that was never interrupted are the same:
            # what a simulator cannot hand over, both begin anew.
            model.set_random_seed(_number(seed, k))
            model.set_env(environment, force_reset=True)
            watch = _watch(config, arm, seed, phase, shift)
            model.learn(length, callback=watch, reset_num_timesteps=False)
            rows += watch.rows
            _save(file, config, arm, seed, k + 1, rows, model)
        return rows
    finally:
        environment.close()


@torch.no_grad()
def _write(params: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        params[name].copy_(value)


def _attach(arm: Arm, config: Config, model: Any, initial: Mapping[str, Tensor], seed: int) -> None:
    """Put an arm's pull before the steps of the policy's optimizer."""
    policy = model.policy
    ratios = {"plain decay": 0.0} | {f"syre {r:g}": r for r in config.sigma_ratios}
    if arm.name in ratios:
        syre = Syre(config.weight_decay, ratios[arm.name], seed=seed)
        syre.attach(policy.optimizer, policy, where=in_network)
        return
    pull = arm.pull(initial, seed, 0)
    if pull.weight_decay == 0:
        return
    attach_pull(pull, policy.optimizer, policy, where=in_network)


def _in_network(model: Any) -> dict[str, torch.nn.Parameter]:
    return {n: p for n, p in model.policy.named_parameters() if in_network(n, p)}


def _watch(config: Config, arm: Arm, seed: int, phase: int, shift: Mapping[str, Tensor]) -> Any:
    """Return a callback of stable-baselines3 that collects rows."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Watch(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[dict[str, Any]] = []
            self._rollouts = 0
            self._running = np.zeros(config.envs)
            self._forget()

        def _forget(self) -> None:
            self._returns: list[float] = []
            self._rewards: list[float] = []

        def _on_step(self) -> bool:
            rewards, dones = self.locals["rewards"], self.locals["dones"]
            self._running += rewards
            self._rewards.append(float(rewards.mean()))
            self._returns += self._running[dones].tolist()
            self._running[dones] = 0
            return True

        def _on_rollout_end(self) -> None:
            self._rollouts += 1
            if self._rollouts % config.log_every:
                return
            model: Any = self.model
            seen = torch.as_tensor(model.rollout_buffer.observations, device=config.device)
            seen = seen.flatten(0, 1).float()
            hidden = features(model, seen)
            parameters = [p.detach().square().sum() for p in _in_network(model).values()]
            self.rows.append(
                {
                    "arm": arm.name,
                    "seed": seed,
                    "step": self.num_timesteps,
                    "phase": phase,
                    "return": float(np.mean(self._returns)) if self._returns else float("nan"),
                    "reward": float(np.mean(self._rewards)),
                    "rank": effective_rank(hidden).item(),
                    "dead": dead_fraction(hidden - hidden.mean(0)).item(),
                    "rank_shifted": effective_rank(features(model, seen, shift)).item(),
                    "norm": torch.stack(parameters).sum().sqrt().item(),
                }
            )
            self._forget()

    return Watch()


def _number(seed: int, boundary: int = -1) -> int:
    """Return a seed for stable-baselines3 that belongs to a run's seed and a checkpoint."""
    return int(np.random.SeedSequence([seed, boundary + 1]).generate_state(1)[0] >> 1)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Put the global generators, which stable-baselines3 seeds and uses, back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _identity(config: Config, arm: Arm, seed: int) -> dict[str, Any]:
    """Return what must agree for a run to go on; more phases and more seeds may be added."""
    settings = dataclasses.asdict(config)
    for free in ("phases", "seeds", "sigma_ratios", "fix_shares", "pull_to_start", "device"):
        del settings[free]
    return {"arm": arm.name, "seed": seed, "settings": repr(sorted(settings.items()))}


def _save(
    file: Path | None,
    config: Config,
    arm: Arm,
    seed: int,
    done: int,
    rows: list[dict[str, Any]],
    model: Any,
) -> None:
    if file is None:
        return
    packed = io.BytesIO()
    model.save(packed)
    state = {
        "run": _identity(config, arm, seed),
        "done": done,
        "rows": rows,
        "model": torch.frombuffer(bytearray(packed.getvalue()), dtype=torch.uint8),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    torch.save(state, part)
    os.replace(part, file)


def _load(file: Path | None, config: Config, arm: Arm, seed: int) -> dict[str, Any] | None:
    if file is None or not file.exists():
        return None
    state: dict[str, Any] = torch.load(file, weights_only=True)
    identity = _identity(config, arm, seed)
    if state["run"] != identity:
        raise ValueError(
            f"checkpoint {str(file)!r} belongs to another run: it was written by {state['run']}, "
            f"this is {identity}; name another folder or delete it"
        )
    return state


def _is_above(values: pd.Series, bound: float = 0.0) -> bool:
    """Return whether a mean over the seeds is above by more than two standard errors."""
    return bool(values.mean() - 2 * values.sem() > bound)


def _strengths(last: pd.DataFrame) -> list[str]:
    """Return the names of the arms with syre, the weakest first."""
    names = last.index.get_level_values("arm").unique()
    return sorted((n for n in names if n.startswith("syre")), key=lambda n: float(n.split()[1]))


def _gain(last: pd.DataFrame, which: int, other: str) -> pd.Series:
    """Return how much more a strength of syre earns than another arm, seed by seed."""
    return last["later"][_strengths(last)[which]] - last["later"][other]


def _change(last: pd.DataFrame, arm: str) -> pd.Series:
    """Return the reward at the end less that at the end of the first phase, seed by seed.

    Unlike their ratio, the difference has the same meaning where rewards are negative.
    """
    reward = last["reward"][arm]
    return reward - reward / last["kept"][arm]


_GAIN = "difference of the mean reward a step, all phases but the first"

CLAIMS = (
    Claim(
        text="Without decay, PPO loses return as the world keeps changing",
        paper="vanilla loses return over time",
        measure=lambda last: _change(last, "vanilla"),
        unit="reward a step at the end of the last phase, less that of the first",
        holds=lambda values: _is_above(-values),
        comment="In the quick world all phases are equally hard to a new network; floors are not.",
    ),
    Claim(
        text="PPO with weak syre earns more than without decay",
        paper="syre keeps the return",
        measure=lambda last: _gain(last, 0, "vanilla"),
        unit=_GAIN,
        holds=_is_above,
        comment="This comparison does not tell the bias from the decay that comes with it.",
    ),
    Claim(
        text="PPO with weak syre earns more than with plain decay of the same strength",
        paper="no such control",
        measure=lambda last: _gain(last, 0, "plain decay"),
        unit=_GAIN,
        holds=_is_above,
        comment="The control: at the paper's size of the bias, decay explains the gain.",
    ),
    Claim(
        text="PPO with the strongest syre earns more than with plain decay of the same strength",
        paper="no such control",
        measure=lambda last: _gain(last, -1, "plain decay"),
        unit=_GAIN,
        holds=_is_above,
        comment="The strength of the decay was not tuned for either.",
    ),
    Claim(
        text="Without decay, the hidden layer loses effective rank",
        paper="vanilla loses effective rank over time",
        measure=lambda last: last["rank_kept"]["vanilla"],
        unit="effective rank at the end of the last phase / of the first",
        holds=lambda values: _is_above(-values, -1.0),
        comment="Plain decay loses more rank than that in the quick run, and earns more.",
    ),
    Claim(
        text="With weak syre, the hidden layer keeps its effective rank",
        paper="syre keeps the effective rank",
        measure=lambda last: last["rank_kept"][_strengths(last)[0]],
        unit="effective rank at the end of the last phase / of the first",
        holds=lambda values: bool(values.mean() > 0.95),
        comment="A bias as large as the initial weights keeps it; a weak one does not.",
    ),
)
