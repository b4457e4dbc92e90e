"""The recipes of the book run, and what they say of schedules, averages, gains and ties is true."""

import copy
import importlib.util
import io

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import page_blocks
import syre_helpers as sh
from syre_helpers.removal import around, attach_pull
from tools.build import chapters

PAGE = chapters.BOOK / "reference" / "recipes.md"
DECAY = 0.05


def test_the_recipes_run_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(page_blocks.blocks(PAGE)) >= 16
    there = importlib.util.find_spec("stable_baselines3") is not None
    page = {"__name__": "__main__"}
    said = page_blocks.run(
        PAGE,
        page,
        skip=lambda code: not there and ("PPO" in code or "agent()" in code),
    )
    assert "the state has seed=3, this remedy was attached with seed=7" in said
    assert not list(tmp_path.iterdir()), "nothing is left behind"

    # What is pasted from the reference does what the reference does.
    one, other = ({"w": torch.ones(4, 3)} for _ in range(2))
    theta_0, D = sh.reference.draw(one, sigma_ratio=0.1, sigma_D=0.0, seed=0)
    pasted = page["draw"](other, sigma_ratio=0.1, seed=0)
    assert torch.equal(pasted["w"], theta_0["w"])
    sh.reference.pull_(one, theta_0, D, lr=0.1, weight_decay=0.5)
    page["pull_"](other, pasted, lr=0.1, weight_decay=0.5)
    assert torch.equal(one["w"], other["w"])


def net(dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).to(dtype)


def task():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 64, 5, generator=generator, dtype=torch.float64)
    return x, y[:, :2]


def step(model, optimizer):
    x, y = task()
    optimizer.zero_grad()
    (model(x) - y).square().mean().backward()
    optimizer.step()


def still(model):
    """Give all parameters a gradient of zero, so that the pull alone moves them."""
    for p in model.parameters():
        p.grad = torch.zeros_like(p)


def values(model):
    return {n: p.detach().clone() for n, p in sh.effective_parameters(model).items()}


def largest_difference(a, b):
    return max(float((a[n] - b[n]).abs().max()) for n in a)


# ---- learning-rate schedules ---------------------------------------------------------------------

STEPS = 40


def cosine(optimizer):
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)


def warm_up_and_down(optimizer):
    up = lr_scheduler.LambdaLR(optimizer, lambda t: t / 10)  # the first step has the rate 0
    down = lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    return lr_scheduler.SequentialLR(optimizer, [up, down], milestones=[10])


def rates_of_cosine(t):
    return 0.05 * (1 + torch.cos(torch.pi * t / STEPS))


def rates_of_warm_up(t):
    return torch.where(t < 10, 0.1 * t / 10, 0.1 * 0.9 ** (t - 10))


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")  # within SequentialLR itself
@pytest.mark.parametrize(
    ("schedule", "rates"), [(cosine, rates_of_cosine), (warm_up_and_down, rates_of_warm_up)]
)
@pytest.mark.parametrize("sigma_D", [0.0, 0.2])
def test_under_a_schedule_the_product_of_the_steps_is_left(schedule, rates, sigma_D):
    model = net()
    start = values(model)
    syre = sh.Syre(1.0, sigma_ratio=0.5, sigma_D=sigma_D, seed=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    changing = schedule(optimizer)
    syre.attach(optimizer, model)
    still(model)
    for _ in range(STEPS):
        optimizer.step()
        changing.step()
    each = rates(torch.arange(STEPS, dtype=torch.float64))
    for name, p in values(model).items():
        theta_0, D = syre.bias(name, p), syre.metric(name, p)
        left = torch.prod(1 - each.reshape(-1, *[1] * p.ndim) * D, 0)
        assert torch.allclose(p, theta_0 + left * (start[name] - theta_0), atol=1e-13), name
        # The sum of the rates alone gives it to within a tenth.
        assert ((left.log() / (D * each.sum())) + 1).abs().max() < 0.1


@pytest.mark.parametrize(
    ("make", "forms"),
    [
        (lambda p, decay: torch.optim.SGD(p, lr=0.1, weight_decay=decay), "all"),
        (lambda p, decay: torch.optim.AdamW(p, lr=0.02, weight_decay=decay), "decoupled"),
        (lambda p, decay: torch.optim.Adam(p, lr=0.02, weight_decay=decay), "coupled"),
    ],
    ids=["SGD", "AdamW", "Adam"],
)
def test_forms_agree_under_a_schedule(make, forms):
    """Each form follows the schedule as the optimizer's own decay does."""

    def trained(form, scheduled=True):
        model = net()
        syre = sh.Syre(DECAY, sigma_ratio=0.5, seed=3)
        if form == "parametrize":
            syre.parametrize(model)
        optimizer = make(model.parameters(), DECAY if form == "parametrize" else 0)
        if form == "attach":
            syre.attach(optimizer, model)
        changing = cosine(optimizer)
        x, y = task()
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = (model(x) - y).square().mean()
            (loss + syre.penalty(model) if form == "penalty" else loss).backward()
            optimizer.step()
            if scheduled:
                changing.step()
        return values(model)

    other = {"all": ["attach", "penalty"], "decoupled": ["attach"], "coupled": ["penalty"]}[forms]
    found = trained("parametrize")
    for form in other:
        assert largest_difference(trained(form), found) < 1e-10, form
    assert largest_difference(trained("parametrize", scheduled=False), found) > 1e-3


# ---- an average of the weights -------------------------------------------------------------------


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("form", ["attach", "parametrize"])
def test_the_average_computes_with_the_average_of_what_the_model_computed_with(form, use_buffers):
    model = net()
    syre = sh.Syre(DECAY, sigma_ratio=1.0, sigma_D=0.3, seed=2)
    if form == "parametrize":
        syre.parametrize(model)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, weight_decay=DECAY if form == "parametrize" else 0
    )
    if form == "attach":
        syre.attach(optimizer, model)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=use_buffers)
    expected = None
    for _ in range(15):
        step(model, optimizer)
        average.update_parameters(model)
        now = values(model)
        expected = now if expected is None else {
            n: 0.8 * p + 0.2 * now[n] for n, p in expected.items()
        }  # fmt: skip
    assert largest_difference(values(average), expected) < 1e-14
    assert largest_difference(values(model), expected) > 1e-4, "an average is not the last state"
    if form == "attach":
        return
    before = values(model)
    syre.remove(average.module)
    assert largest_difference(values(average.module), expected) < 1e-14
    assert set(average.module.state_dict()) == set(net().state_dict())
    assert largest_difference(values(model), before) == 0
    step(model, optimizer)  # the model in training goes on under parametrize
    assert nn.utils.parametrize.is_parametrized(model[0])


def test_baking_one_of_two_copies_leaves_the_other_as_it_is():
    """They share a class, which PyTorch's removal changes."""
    x, _ = task()
    for which in (0, 1):
        model = net()
        syre = sh.Syre(DECAY, sigma_ratio=1.0)
        syre.parametrize(model)
        both = [model, copy.deepcopy(model)]
        baked, other = both[which], both[1 - which]
        before = model(x).detach()
        syre.remove(baked)
        for one in both:
            assert torch.allclose(one(x), before, atol=1e-14)
        assert type(baked[0]) is nn.Linear
        other[0].weight = torch.ones_like(other[0].weight)
        assert (other[0].weight - 1).abs().max() < 1e-14
        assert not torch.equal(baked[0].weight, other[0].weight)
        syre.remove(other)
        assert type(other[0]) is nn.Linear


# ---- gains of LayerNorm --------------------------------------------------------------------------


def pulled(attach, steps=60):
    """Return where the pull alone takes a network with a LayerNorm, and its start."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2)).double()
    start = values(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attach(optimizer, model)
    still(model)
    for _ in range(steps):
        optimizer.step()
    return values(model), start


def test_gains_are_pulled_to_theta_0_unless_told_otherwise():
    syre, left = sh.Syre(1.0, sigma_ratio=0.2, seed=5), 0.9**60
    found, start = pulled(lambda optimizer, model: syre.attach(optimizer, model))
    theta_0 = syre.bias("1.weight", found["1.weight"])
    assert torch.allclose(found["1.weight"], theta_0 + left * (1 - theta_0))
    assert theta_0.abs().max() < 0.3, "next to 1 that is 0"

    found, start = pulled(
        lambda optimizer, model: syre.attach(optimizer, model, where=lambda n, p: p.ndim > 1)
    )
    for name in ("1.weight", "1.bias", "0.bias", "3.bias"):
        assert torch.equal(found[name], start[name]), name
    assert largest_difference({"0.weight": found["0.weight"]}, start) > 0.1

    ones = {"1.weight": torch.ones(8, dtype=torch.float64)}
    found, _ = pulled(
        lambda optimizer, model: attach_pull(
            around(syre.pull(values(model)), ones), optimizer, model
        )
    )
    assert torch.allclose(found["1.weight"], 1 + (1 - left) * theta_0)
    weight = found["0.weight"]
    theta_0 = syre.bias("0.weight", weight)
    assert torch.allclose(weight, theta_0 + left * (start["0.weight"] - theta_0))


def test_without_gains_no_swap_of_units_leaves_the_centre_where_it_is():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2)).double()
    centre = dict(sh.Syre(1.0, sigma_ratio=0.2).pull(values(model)).centre)
    centre["1.weight"], centre["1.bias"] = torch.ones(4), torch.zeros(4)
    pairs = [(i, j) for i in range(4) for j in range(i)]
    distances = [sh.permutation_reflection(model, "0", i, j).distance(centre) for i, j in pairs]
    assert min(distances) > 0.01
    alike = {n: torch.ones_like(p) for n, p in values(model).items()}
    assert sh.permutation_reflection(model, "0", 0, 1).distance(alike) == 0


# ---- tied weights --------------------------------------------------------------------------------


class Tied(nn.Module):
    """An embedding that is read out again by itself; `first` is registered first."""

    def __init__(self, first="embedding"):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            parts = {"embedding": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)}
        parts["head"].weight = parts["embedding"].weight
        for name in (first, *(set(parts) - {first})):
            self.add_module(name, parts[name])
        self.double()

    def forward(self, tokens):
        return self.head(torch.tanh(self.embedding(tokens)))


def test_a_tied_weight_is_one_parameter_in_every_form():
    tokens, targets = torch.arange(6), torch.arange(6).roll(1)

    def trained(form):
        model = Tied()
        syre = sh.Syre(DECAY, sigma_ratio=1.0, sigma_D=0.3, seed=1)
        if form == "parametrize":
            syre.parametrize(model)
        decay = DECAY if form in ("parametrize", "plain decay") else 0
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=decay)
        if form == "attach":
            syre.attach(optimizer, model)
        for _ in range(50):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(tokens), targets)
            (loss + syre.penalty(model) if form == "penalty" else loss).backward()
            optimizer.step()
        assert torch.equal(model.head.weight, model.embedding.weight)
        return values(model)

    attached = trained("attach")
    assert list(attached) == ["embedding.weight"]
    for form in ("parametrize", "penalty"):
        assert largest_difference(trained(form), attached) < 1e-10, form
    assert largest_difference(trained("plain decay"), attached) > 1e-3


def test_a_tied_weight_is_pulled_and_counted_once_with_the_theta_0_of_its_first_name():
    for first in ("embedding", "head"):
        model = Tied(first)
        syre = sh.Syre(0.4, sigma_ratio=0.5, seed=1)
        weight = model.embedding.weight.detach().clone()
        penalty = syre.penalty(model)
        theta_0 = syre.bias(f"{first}.weight", weight)
        assert torch.allclose(penalty, 0.2 * (weight - theta_0).square().sum())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        syre.attach(optimizer, model)
        still(model)
        optimizer.step()
        assert torch.allclose(model.head.weight, weight - 0.04 * (weight - theta_0))


# ---- another seed on resume ----------------------------------------------------------------------


def test_after_a_change_of_the_seed_the_old_theta_0_is_forgotten_geometrically():
    model = net()
    syre = sh.Syre(1.0, sigma_0=0.5, seed=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    syre.attach(optimizer, model)
    old = {n: syre.bias(n, p) for n, p in values(model).items()}
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(old[name])
    still(model)
    optimizer.step()
    assert largest_difference(values(model), old) < 1e-15, "at rest"
    with pytest.warns(sh.SyreWarning, match=r"seed=7.*attached with seed=3"):
        syre.load_state_dict(syre.state_dict() | {"seed": 7})
    for _ in range(30):
        optimizer.step()
    for name, p in values(model).items():
        new = sh.Syre(1.0, sigma_0=0.5, seed=7).bias(name, p)
        assert torch.allclose(p, new + 0.9**30 * (old[name] - new), atol=1e-14), name


def test_under_parametrize_the_checkpoint_brings_its_own_theta_0():
    saved, other = net(), net()
    sh.Syre(DECAY, sigma_0=0.5, seed=3).parametrize(saved)
    step(saved, torch.optim.SGD(saved.parameters(), lr=0.1, weight_decay=DECAY))
    remedy = sh.Syre(DECAY, sigma_0=0.5, seed=7)
    remedy.parametrize(other)
    other.load_state_dict(saved.state_dict())
    x, _ = task()
    assert torch.equal(other(x), saved(x))
    for model in (saved, other):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=DECAY)
        for _ in range(5):
            step(model, optimizer)
    assert torch.equal(other(x), saved(x)), "and goes on towards it"
    remedy.remove(other)
    assert torch.equal(other(x), saved(x))


# ---- stable-baselines3 ---------------------------------------------------------------------------


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
        weight = again.policy.action_net.weight
        assert torch.equal(
            kept.bias("action_net.weight", weight), syre.bias("action_net.weight", weight)
        )
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
