"""PPO in a changing world: its parts, what the quick run shows, going on, syre in SB3's own PPO."""

import random
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch

import syre_helpers as sh
from syre_helpers import experiments
from syre_helpers.experiments import _ppo as ppo
from syre_helpers.experiments import reinforcement

stable_baselines3 = pytest.importorskip("stable_baselines3")

TINY = {
    "envs": 8, "phases": 2, "rollouts": 4, "log_every": 2, "checkpoint_every": 2, "batch_size": 32,
    "epochs": 2, "seeds": 1, "widths": (8, 8), "sigma_ratios": (1.0,), "pull_to_start": False,
}  # fmt: skip
ALL_ARMS = TINY | {"fix_shares": (0.5,), "pull_to_start": True}


def configure(preset="quick", **changes):
    return experiments.configure(reinforcement, preset, **(changes or TINY))


def make_agent(config=None, seed=0):
    config = config or configure()
    return reinforcement.make_ppo(config, reinforcement.make_environment(config), seed)


def weights(agent):
    return {name: p.detach().clone() for name, p in agent.policy.named_parameters()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_decay_keeps_what_vanilla_loses_and_the_weak_bias_adds_nothing(quick, end):
    last = end(quick("reinforcement"))
    rank = last["rank"].groupby("arm").mean()
    assert rank["plain decay"] < rank["vanilla"], "the arm that earns more has the lower rank"
    noise = last.rank_shifted["plain decay"] - last["rank"]["plain decay"]
    assert noise.mean() > 1


@pytest.mark.parametrize(
    ("first", "last", "verdict"),
    [(0.6, 0.3, "reproduced"), (0.3, 0.6, "not"), (-1.0, -0.9, "not"), (-0.9, -1.0, "reproduced")],
)
def test_a_loss_of_return_is_one_where_rewards_are_negative_too(first, last, verdict):
    rewards = last + np.array([0.0, 0.01, -0.01])
    rows = {"arm": "vanilla", "method": "vanilla", "seed": range(3), "step": 1, "reward": rewards}
    claim = next(c for c in reinforcement.CLAIMS if "loses return" in c.text)
    values = claim.values(pd.DataFrame(rows | {"retained_reward": rewards / first}))
    assert values.tolist() == pytest.approx((rewards - first).tolist())
    assert claim.verdict(values) == verdict


def test_columns_that_look_back_at_the_first_phase():
    table = reinforcement.run(configure(**ALL_ARMS))
    assert len(table) == 5 * 4
    for _, run in table.groupby("arm"):
        reward, rank = run.reward.to_numpy(), run["rank"].to_numpy()
        assert run.mean_after_phase_1.iloc[:2].isna().all()
        assert run.mean_after_phase_1.iloc[2:].tolist() == [reward[2], reward[2:].mean()]
        assert np.array_equal(run.retained_reward, reward / reward[[0, 1, 0, 1]])
        assert np.array_equal(run.retained_rank, rank / rank[[0, 1, 0, 1]])


def test_porter_is_what_it_says():
    env = reinforcement.make_environment(configure(envs=64))
    env.seed(3)
    first = env.reset()
    assert first.shape == (64, 64)
    assert first.dtype == np.float32
    returns, running = [], np.zeros(64)
    for _ in range(40):
        # An oracle that errs on purpose in every fourth copy.
        press = env._names[env._shown].copy()
        press[::4] = (press[::4] + 1) % 10
        _, reward, done, _ = env.step(press)
        assert (reward[::4] == 0).all()
        running += reward
        returns += running[done].tolist()
        running[done] = 0
    assert set(returns) == {0.0, 8.0}
    env.seed(3)
    assert np.array_equal(env.reset(), first)
    order = env.order.copy()
    env.change(np.random.default_rng(0))
    env.seed(3)
    changed = env.reset()
    assert not np.array_equal(env.order, order)
    assert np.array_equal(np.sort(changed, 1), np.sort(first, 1)), "the same pixels, elsewhere"


def test_ant_gets_one_friction_everywhere():
    config = configure("paper", envs=2)
    env = reinforcement.make_environment(config)
    seen = []
    for phase in range(20):
        reinforcement.change(env, config, np.random.default_rng([0, phase]))
        sliding = [one.unwrapped.model.geom_friction[:, 0] for one in env.envs]
        assert all((s == sliding[0][0]).all() for s in sliding)
        seen.append(sliding[0][0])
    env.close()
    assert 0.02 <= min(seen) < 0.1
    assert 0.5 < max(seen) <= 2


def test_measures_of_a_policy_made_by_hand():
    agent = make_agent()
    network = agent.policy.mlp_extractor.policy_net
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[:, :8] = torch.eye(8)
        network[2].weight.copy_(torch.diag(torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0])))
        network[0].bias.zero_()
        network[2].bias.zero_()
    x = torch.zeros(8, 64)
    x[:, :8] = torch.eye(8)
    hidden = ppo.features(agent, x)
    assert torch.equal(hidden, torch.diag(torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0])))
    assert sh.effective_rank(hidden).item() == pytest.approx(3)
    shift = {n: torch.zeros_like(p) for n, p in agent.policy.named_parameters()}
    shift["mlp_extractor.policy_net.2.bias"] += 1.0
    assert torch.equal(ppo.features(agent, x, shift), hidden + 1)


@pytest.mark.parametrize("arm", reinforcement.compared_arms(configure(**ALL_ARMS)), ids=str)
def test_arms_do_to_the_weights_what_they_should(arm):
    agent = make_agent()
    params = ppo.network_of(agent)
    initial = {n: p.detach().clone() for n, p in params.items()}
    ppo.equip(agent, arm, 0)
    started = {n: p.detach().clone() for n, p in params.items()}
    assert same(started, arm.start(initial, 0))
    for p in params.values():
        p.grad = torch.zeros_like(p)
    agent.policy.optimizer.step()  # Adam does nothing, the pull is left
    pull = arm.pull(initial, 0)
    for name, p in params.items():
        force = pull.masked(name, pull.force(name, started[name]))
        torch.testing.assert_close(p.detach(), started[name] - 0.03 * force, rtol=0, atol=1e-6)


def test_phases_may_be_added_and_left_off(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    shorter, longer = (configure(**TINY | {"phases": phases}) for phases in (1, 2))
    for config in (shorter, longer, shorter):
        table = reinforcement.run(config, tmp_path / "kept")
        pd.testing.assert_frame_equal(table, reinforcement.run(config), check_exact=True)
    assert not list(temporary.iterdir()), "stable-baselines3 would log there"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": 0.5}, "(lr: 0.03 there, 0.5 here)"),
        ({"sigma_ratios": (2.0,)}, "(strongest syre: 1.0 there, 2.0 here)"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(change, words, tmp_path):
    short = TINY | {"phases": 1}
    reinforcement.run(configure(**short), tmp_path)
    with pytest.raises(ValueError, match="another run") as error:
        reinforcement.run(configure(**short | change), tmp_path)
    assert words in str(error.value)


def test_settings_that_do_not_divide_are_refused():
    for name, config in reinforcement.PRESETS.items():
        assert config.n_steps * config.envs % config.batch_size == 0, name
    for name in ("log_every", "checkpoint_every"):
        with pytest.raises(ValueError, match=f"{name}=3 must divide rollouts=4"):
            configure(**TINY | {name: 3})


def test_global_random_states_are_left_alone():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002

    def seed():
        random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002

    seed()
    expected = draw()
    seed()
    reinforcement.run(configure(**TINY | {"sigma_ratios": (), "phases": 1}))
    assert draw() == expected


def test_syre_stands_beside_sb3s_own_files(tmp_path):
    """PPO.save holds weights and optimizer; the pull is attached anew from its own state."""

    def learn(agent, key):
        # Go on from a boundary: fresh environments and generators, as `run` does.
        agent.set_random_seed(key)
        agent.set_env(agent.env, force_reset=True)
        agent.learn(4 * 4 * 8, reset_num_timesteps=False)
        return weights(agent)

    agent = make_agent()
    syre = sh.Syre(weight_decay=1.0, sigma_ratio=1.0, seed=5)
    syre.attach(agent.policy.optimizer, agent.policy)
    written = learn(agent, 0)
    agent.save(tmp_path / "ppo.zip")
    torch.save(syre.state_dict(), tmp_path / "syre.pt")
    expected = learn(agent, 1)

    def resumed(attach):
        environment = reinforcement.make_environment(configure())
        again = stable_baselines3.PPO.load(tmp_path / "ppo.zip", environment, device="cpu")
        assert same(weights(again), written)
        if attach:
            kept = sh.Syre()
            kept.load_state_dict(torch.load(tmp_path / "syre.pt", weights_only=True))
            kept.attach(again.policy.optimizer, again.policy)
        return learn(again, 1)

    assert same(resumed(attach=True), expected)
    assert not same(resumed(attach=False), expected), "without it, the pull is gone silently"


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ImportError, match=r"syre_helpers\[rl\]"):
        experiments.run("reinforcement")
