"""PPO of stable-baselines3 in a changing world: worlds, agents, their arms, states and measures."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from ..measures import dead_fraction, effective_rank
from ..removal import Arm, attach_pull
from ._worlds import Config, stable_baselines


def make_ppo(config: Config, environment: Any, seed: int) -> Any:
    """Return a new PPO of stable-baselines3, with ReLU networks of the configured widths.

    Parameters
    ----------
    config : Config
        Settings of PPO.
    environment : stable_baselines3.common.vec_env.VecEnv
        From `make_environment`.
    seed : int
        Seeds the global generators, the environment and with them the initial parameters.

    Returns
    -------
    stable_baselines3.PPO
        Its logger writes nothing: PPO's own makes a folder at each call of ``learn``.
    """
    sb3 = stable_baselines()
    from stable_baselines3.common.logger import Logger

    agent = sb3.PPO(
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
    agent.set_logger(Logger(folder=None, output_formats=[]))
    return agent


def in_network(name: str, parameter: Tensor) -> bool:
    """Test whether a parameter is a weight or bias, not the width of a Gaussian policy's noise.

    That width has no mirror.

    Parameters
    ----------
    name : str
        The name within the policy.
    parameter : Tensor
        Not looked at.

    Returns
    -------
    bool
        The argument ``where`` of `attach_pull`.
    """
    return name != "log_std"


def network_of(agent: Any) -> dict[str, torch.nn.Parameter]:
    """Return the parameters of an agent's networks by name: those that arms act on."""
    return {n: p for n, p in agent.policy.named_parameters() if in_network(n, p)}


def equip(agent: Any, arm: Arm, seed: int) -> None:
    """Start an agent where an arm starts, and put the arm's pull before its optimizer's steps.

    Parameters
    ----------
    agent : stable_baselines3.PPO
        As `make_ppo` made it; changed in place.
    arm : Arm
        One that does nothing between steps, nor after the last.
    seed : int
        The seed of the run.
    """
    initial = {name: p.detach().clone() for name, p in network_of(agent).items()}
    policy = agent.policy
    policy.load_state_dict(dict(arm.start(initial, seed)), strict=False)
    attach_pull(arm.pull(initial, seed), policy.optimizer, policy, where=in_network)


def features(agent: Any, observations: Tensor, shift: Mapping[str, Tensor] | None = None) -> Tensor:
    """Return the outputs of the policy's last hidden layer, one row per observation.

    Parameters
    ----------
    agent : stable_baselines3.PPO
        With an MlpPolicy.
    observations : Tensor
        Shape (samples, values).
    shift : mapping of str to Tensor, optional
        Added to the parameters for the time of the call, by canonical name.

    Returns
    -------
    Tensor
        Shape (samples, units).
    """
    network = agent.policy.mlp_extractor.policy_net
    named = dict(network.named_parameters())
    prefix = "mlp_extractor.policy_net."
    moved = {n: p if shift is None else p + shift[prefix + n] for n, p in named.items()}
    with torch.no_grad():
        return functional_call(network, moved, (observations,))


def state_of(agent: Any) -> dict[str, Any]:
    """Return all that an agent needs to go on from the end of a call of ``learn``.

    stable-baselines3's own files hold pickled code, which is executed when they are loaded; here
    are tensors and numbers only.

    Parameters
    ----------
    agent : stable_baselines3.PPO
        From `make_ppo`.

    Returns
    -------
    dict
        The number of steps, and the states of policy and optimizer; for `restore`.
    """
    policy = agent.policy
    return {
        "step": agent.num_timesteps,
        "policy": policy.state_dict(),
        "optimizer": policy.optimizer.state_dict(),
    }


def restore(agent: Any, state: Mapping[str, Any]) -> None:
    """Put an agent that was made anew with the same settings into a state from `state_of`."""
    agent.num_timesteps = state["step"]
    agent.policy.load_state_dict(state["policy"])
    agent.policy.optimizer.load_state_dict(state["optimizer"])


def watch(config: Config, phase: int, bias: Mapping[str, Tensor]) -> Any:
    """Return a callback of stable-baselines3 that measures now and then, into its list ``rows``.

    Parameters
    ----------
    config : Config
        Says how often.
    phase : int
        A column of the rows.
    bias : mapping of str to Tensor
        What is added to the parameters for rank_shifted.

    Returns
    -------
    stable_baselines3.common.callbacks.BaseCallback
        For one call of ``learn``.
    """
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
            row = {
                "step": self.num_timesteps,
                "phase": phase,
                "return": float(np.mean(self._returns)) if self._returns else float("nan"),
                "reward": float(np.mean(self._rewards)),
            }
            self.rows.append(row | _measure(self.model, bias))
            self._forget()

    return Watch()


def _measure(agent: Any, bias: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the measures of an agent's networks on the observations of its last rollout."""
    seen = torch.as_tensor(agent.rollout_buffer.observations, device=agent.device)
    seen = seen.flatten(0, 1).float()
    hidden = features(agent, seen)
    squares = [p.detach().square().sum() for p in network_of(agent).values()]
    return {
        "rank": effective_rank(hidden).item(),
        "dead": dead_fraction(hidden - hidden.mean(0)).item(),
        "rank_shifted": effective_rank(features(agent, seen, bias)).item(),
        "norm": torch.stack(squares).sum().sqrt().item(),
    }


def seed_number(seed: int, checkpoint: int = -1) -> int:
    """Return the seed for stable-baselines3 that belongs to a run's seed and a checkpoint.

    stable-baselines3 seeds by one number what PyTorch, NumPy and the environments draw, so the
    number is spread by NumPy's scheme and not by the package's own.

    Parameters
    ----------
    seed : int
        The seed of the run.
    checkpoint : int
        The number of the checkpoint before; -1 for the making of the agent. Default -1.

    Returns
    -------
    int
        Of 31 bits.
    """
    return int(np.random.SeedSequence([seed, checkpoint + 1]).generate_state(1)[0] >> 1)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Put the global generators, which stable-baselines3 seeds and uses, back afterwards.

    Yields
    ------
    None
        Nothing.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
