"""The remedy on an agent of stable-baselines3, which is saved and goes on."""

import io

import pytest
import torch

import syre_helpers as sh
from small_task import largest_difference


def values(policy):
    return {n: p.clone() for n, p in sh.effective_parameters(policy).items()}


def agent(optimizer_class=torch.optim.Adam, **settings):
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.logger import Logger

    model = sb3.PPO(
        "MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32, n_epochs=2, seed=0, device="cpu",
        policy_kwargs={
            "net_arch": [6], "optimizer_class": optimizer_class, "optimizer_kwargs": settings
        },
    )  # fmt: skip
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def saved_and_loaded(model):
    packed = io.BytesIO()
    model.save(packed)
    packed.seek(0)
    again = type(model).load(packed, model.env, device="cpu")
    again.set_logger(model.logger)
    return again


def go_on(model):
    """Go on from new episodes and a fresh seed, which a run that was not interrupted does too."""
    model.set_random_seed(1)
    model.set_env(model.env, force_reset=True)
    model.learn(96, reset_num_timesteps=False)
    return values(model.policy)


def test_ppo_goes_on_to_the_last_bit_once_syre_is_attached_again():
    with torch.random.fork_rng():
        model = agent()
        syre = sh.Syre(1.0, sigma_ratio=1.0, seed=5)
        syre.attach(model.policy.optimizer, model.policy)
        model.learn(64)
        again, forgotten = saved_and_loaded(model), saved_and_loaded(model)
        kept = sh.Syre()
        kept.load_state_dict(syre.state_dict())
        kept.attach(again.policy.optimizer, again.policy)
        uninterrupted = go_on(model)
        assert largest_difference(go_on(again), uninterrupted) == 0
        assert largest_difference(go_on(forgotten), uninterrupted) > 1e-5


def test_a_parametrized_policy_is_baked_before_it_is_saved():
    with torch.random.fork_rng():
        model = agent(torch.optim.AdamW, weight_decay=1.0)
        syre = sh.Syre(1.0, sigma_ratio=1.0, seed=5)
        syre.parametrize(model.policy)
        model.learn(64)
        with pytest.raises(RuntimeError, match="Missing key"):
            saved_and_loaded(model)
        before = values(model.policy)
        syre.remove(model.policy)
        again = saved_and_loaded(model)
        assert largest_difference(values(again.policy), before) == 0
        for policy in (model.policy, again.policy):
            syre.parametrize(policy)
        assert largest_difference(values(model.policy), before) < 1e-6
        assert largest_difference(go_on(again), go_on(model)) == 0
