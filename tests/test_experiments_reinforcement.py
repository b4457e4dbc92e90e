"""PPO in a changing world: what the quick run shows, resuming, and syre beside SB3's own files."""

import dataclasses
import io
import random
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch

import syre_helpers as sh
from syre_helpers import experiments
from syre_helpers.experiments import reinforcement

stable_baselines3 = pytest.importorskip("stable_baselines3")

TINY = {
    "envs": 8, "phases": 2, "rollouts": 4, "log_every": 2, "checkpoint_every": 2, "batch_size": 32,
    "epochs": 2, "seeds": 1, "widths": (8, 8),
}  # fmt: skip


def configure(preset="quick", **changes):
    return experiments.configure(reinforcement, preset, **changes)


@pytest.fixture(scope="module")
def quick():
    table = experiments.run("reinforcement", pull_to_start=False)
    return table[table.step == table.step.max()].set_index(["arm", "seed"])


@pytest.mark.slow
def test_decay_keeps_what_vanilla_loses_and_the_weak_bias_adds_nothing(quick):
    verdicts = {c.text: c.verdict(c.measure(quick).astype(float)) for c in reinforcement.CLAIMS}
    assert len(verdicts) == len(reinforcement.CLAIMS)
    found = {text for text, verdict in verdicts.items() if verdict == "reproduced"}
    assert found >= {
        "Without decay, PPO loses return as the world keeps changing",
        "PPO with weak syre earns more than without decay",
    }
    assert "With weak syre, the hidden layer keeps its effective rank" not in found
    assert "PPO with weak syre earns more than with plain decay of the same strength" not in found
    rank = quick["rank"].groupby("arm").mean()
    assert rank["plain decay"] < rank["vanilla"], "the arm that earns more has the lower rank"
    noise = quick.rank_shifted["plain decay"] - quick["rank"]["plain decay"]
    assert noise.mean() > 1


@pytest.mark.parametrize(
    ("values", "above"), [([1.0, 1.1, 0.9], True), ([1.0, -1.0, 0.5], False), ([-1.0, -2.0], False)]
)
def test_above_by_two_standard_errors(values, above):
    assert reinforcement._is_above(pd.Series(values)) is above


@pytest.mark.parametrize(
    ("first", "end", "verdict"),
    [(0.6, 0.3, "reproduced"), (0.3, 0.6, "not"), (-1.0, -0.9, "not"), (-0.9, -1.0, "reproduced")],
)
def test_a_loss_of_return_is_one_where_rewards_are_negative_too(first, end, verdict):
    ends = end + np.array([0.0, 0.01, -0.01])
    rows = {"arm": "vanilla", "seed": range(3), "step": 1, "reward": ends, "kept": ends / first}
    claim = next(c for c in reinforcement.CLAIMS if "loses return" in c.text)
    values = claim.values(pd.DataFrame(rows))
    assert values.tolist() == pytest.approx((ends - first).tolist())
    assert claim.verdict(values) == verdict


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
    config = configure(**TINY)
    model = reinforcement.make_ppo(config, reinforcement.make_environment(config), 0)
    network = model.policy.mlp_extractor.policy_net
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[:, :8] = torch.eye(8)
        network[2].weight.copy_(torch.diag(torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0])))
        network[0].bias.zero_()
        network[2].bias.zero_()
    x = torch.zeros(8, 64)
    x[:, :8] = torch.eye(8)
    hidden = reinforcement.features(model, x)
    assert torch.equal(hidden, torch.diag(torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0])))
    assert sh.effective_rank(hidden).item() == pytest.approx(3)
    shift = {n: torch.zeros_like(p) for n, p in model.policy.named_parameters()}
    shift["mlp_extractor.policy_net.2.bias"] += 1.0
    assert torch.equal(reinforcement.features(model, x, shift), hidden + 1)


def run_twice_interrupted(config, folder, monkeypatch, name="_save", after=2):
    """Run until so many checkpoints have been written, stop, and run again."""
    whole = reinforcement.run(config)
    save, count = getattr(reinforcement, name), []

    def stop(file, *rest):
        save(file, *rest)
        count.append(file)
        if len(count) == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(reinforcement, name, stop)
    with pytest.raises(KeyboardInterrupt):
        reinforcement.run(config, folder)
    monkeypatch.undo()
    assert list(folder.iterdir())
    assert not list(folder.glob("*.part"))
    resumed = reinforcement.run(config, folder)
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)
    monkeypatch.setattr(reinforcement, "_save", None)  # nothing is left to train
    pd.testing.assert_frame_equal(reinforcement.run(config, folder), whole, check_exact=True)
    return whole


def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    config = configure(**TINY, fix_shares=(0.5,), sigma_ratios=(1.0,), pull_to_start=True)
    run_twice_interrupted(config, tmp_path / "deep", monkeypatch, after=7)


def test_nothing_is_left_in_the_folder_of_temporary_files(tmp_path, monkeypatch):
    there = tmp_path / "temporary"
    there.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(there))
    config = configure(**TINY | {"phases": 1}, sigma_ratios=(), pull_to_start=False)
    reinforcement.run(config, tmp_path / "kept")
    reinforcement.run(dataclasses.replace(config, phases=2), tmp_path / "kept")  # goes on
    assert not list(there.iterdir())


def test_paper_preset_starts_stops_and_finishes(tmp_path, monkeypatch):
    changes = {"n_steps": 64, "batch_size": 64, "epochs": 1, "sigma_ratios": (0.1,)}
    changes |= {"pull_to_start": False}
    short = {"phases": 2, "rollouts": 2, "log_every": 1, "checkpoint_every": 1, "seeds": 1}
    config = configure("paper", **changes, **short)
    table = run_twice_interrupted(config, tmp_path, monkeypatch, after=3)
    assert set(table.arm) == {"vanilla", "plain decay", "W-fix 10%", "syre 0.1"}
    assert table.step.max() == 2 * 2 * 64
    assert np.isfinite(table[["reward", "rank", "norm", "kept", "rank_kept"]]).all().all()


def test_every_preset_divides():
    for name, config in reinforcement.PRESETS.items():
        reinforcement._check(config)
        assert config.n_steps * config.envs % config.batch_size == 0, name
    with pytest.raises(ValueError, match="log_every=3"):
        reinforcement.run(configure(rollouts=4, log_every=3, checkpoint_every=4))


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    reinforcement.run(configure(**TINY, sigma_ratios=()), tmp_path)
    with pytest.raises(ValueError, match="another run"):
        reinforcement.run(configure(**TINY | {"lr": 0.5}, sigma_ratios=()), tmp_path)


def test_global_random_states_are_left_alone():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    expected = random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    reinforcement.run(configure(**TINY, sigma_ratios=()))
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected  # noqa: NPY002


def test_arms_do_to_the_weights_what_they_should():
    config = configure(**TINY, fix_shares=(0.5,), sigma_ratios=(1.0,), pull_to_start=True)
    for arm in reinforcement.compared_arms(config):
        model = reinforcement.make_ppo(config, reinforcement.make_environment(config), 0)
        params = reinforcement._in_network(model)
        initial = {n: p.detach().clone() for n, p in params.items()}
        if arm.start is not None:
            reinforcement._write(params, arm.start(initial, 0))
        started = {n: p.detach().clone() for n, p in params.items()}
        reinforcement._attach(arm, config, model, initial, 0)
        for p in params.values():
            p.grad = torch.zeros_like(p)
        model.policy.optimizer.step()  # Adam does nothing, the pull is left
        pull = arm.pull(initial, 0, 0)
        for name, p in params.items():
            centre = pull.centre.get(name, torch.zeros_like(p))
            moved = -config.lr * pull.weight_decay * (started[name] - centre)
            mask = pull.mask.get(name, torch.ones_like(p))
            assert torch.allclose(p.detach(), started[name] + mask * moved, atol=1e-6), arm.name


def ppo(seed=0, config=None):
    config = config or configure(**TINY)
    return reinforcement.make_ppo(config, reinforcement.make_environment(config), seed)


def learn(model, key):
    """Go on from a boundary: fresh environments and generators, as `run` does."""
    model.set_random_seed(key)
    model.set_env(model.env, force_reset=True)
    model.learn(4 * 4 * 8, reset_num_timesteps=False)


def weights(model):
    return {n: p.detach().clone() for n, p in model.policy.named_parameters()}


def same(a, b):
    return all(torch.equal(a[n], b[n]) for n in a)


def test_syre_stands_beside_sb3s_own_files(tmp_path):
    """PPO.save holds weights and optimizer; the pull is attached anew from its own state."""
    model = ppo()
    syre = sh.Syre(weight_decay=1.0, sigma_ratio=1.0, seed=5)
    syre.attach(model.policy.optimizer, model.policy)
    learn(model, 0)
    model.save(tmp_path / "ppo.zip")
    torch.save(syre.state_dict(), tmp_path / "syre.pt")
    learn(model, 1)

    def resumed(attach):
        again = stable_baselines3.PPO.load(
            tmp_path / "ppo.zip", reinforcement.make_environment(configure(**TINY)), device="cpu"
        )
        if attach:
            kept = sh.Syre()
            kept.load_state_dict(torch.load(tmp_path / "syre.pt", weights_only=True))
            kept.attach(again.policy.optimizer, again.policy)
        learn(again, 1)
        return weights(again)

    assert same(resumed(attach=True), weights(model))
    assert not same(resumed(attach=False), weights(model)), "without it, the pull is gone silently"


def test_weights_in_the_file_are_those_the_policy_computes_with(tmp_path):
    model = ppo()
    sh.Syre(1.0, 1.0).attach(model.policy.optimizer, model.policy)
    learn(model, 0)
    packed = io.BytesIO()
    model.save(packed)
    packed.seek(0)
    alone = stable_baselines3.PPO.load(packed, device="cpu")
    seen = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)
    assert np.array_equal(
        alone.predict(seen, deterministic=True)[0], model.predict(seen, deterministic=True)[0]
    )


def test_the_saved_seed_wins_over_another_and_says_so():
    model, other = ppo(), ppo()
    first = sh.Syre(1.0, 1.0, seed=5)
    first.attach(model.policy.optimizer, model.policy)
    learn(model, 0)
    changed = sh.Syre(1.0, 1.0, seed=6)
    changed.attach(other.policy.optimizer, other.policy)
    with pytest.warns(sh.SyreWarning, match=r"seed=5.*seed=6"):
        changed.load_state_dict(first.state_dict())
    learn(other, 0)
    assert same(weights(model), weights(other))


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "stable_baselines3", None)
    with pytest.raises(ImportError, match=r"syre_helpers\[rl\]"):
        experiments.run("reinforcement")
