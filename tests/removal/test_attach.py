"""A pull on any optimizer in any loop: where it goes, when, and what is refused."""

import copy
import io
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import syre_helpers as sh
from small_task import flat, largest_difference, net, still, task, train, values
from syre_helpers import arms, reference
from syre_helpers.removal import around, attach_pull, on_the_fly

DECAY = 0.05


def sgd(params, decay=0.0, lr=0.1):
    return torch.optim.SGD(params, lr=lr, weight_decay=decay)


def moved(model, optimizer):
    """Return the names of the parameters that a step without gradients moves."""
    before = values(model)
    still(model)
    optimizer.step()
    return {n for n, p in values(model).items() if not torch.equal(p, before[n])}


@pytest.mark.parametrize(
    "attach",
    [sh.Syre(DECAY).attach, partial(attach_pull, sh.Pull(DECAY))],
    ids=["syre", "pull"],
)
def test_a_pull_ends_with_remove_and_can_be_repeated(attach):
    model = net()
    optimizer = sgd(model.parameters())
    handle = attach(optimizer, model)
    with pytest.raises(ValueError, match=r"'0.weight'.*earlier attach"):
        sh.Syre(DECAY).attach(optimizer, model)
    assert len(moved(model, optimizer)) == 4
    handle.remove()
    assert not moved(model, optimizer)
    sh.Syre(DECAY).attach(optimizer, model)
    assert len(moved(model, optimizer)) == 4
    still(model)
    model[0].bias.grad, start = None, model[0].bias.detach().clone()
    optimizer.step()
    assert torch.equal(model[0].bias, start), "as the optimizers leave alone what has no gradient"


def test_where_selects_parameters_and_masks_freeze():
    model = net()
    optimizer, mask = sgd(model.parameters()), {"0.weight": torch.zeros(7, 5).double()}
    handle = sh.Syre(DECAY).attach(optimizer, model, where=lambda name, p: p.ndim > 1)
    assert moved(model, optimizer) == {"0.weight", "2.weight"}
    handle.remove()
    attach_pull(sh.Pull(DECAY, mask=mask), optimizer, model, where=lambda name, p: p.ndim > 1)
    start = model[2].weight.detach().clone()
    assert moved(model, optimizer) == {"2.weight"}
    assert torch.allclose(model[2].weight, (1 - 0.1 * DECAY) * start)
    with pytest.raises(ValueError, match="where selects no parameter"):
        sh.Syre().penalty(model, where=lambda name, p: False)


def test_moved_and_recast_models_keep_being_pulled():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    sh.Syre(1.0, sigma_0=1.0).attach(optimizer, model)
    for dtype in (torch.float64, torch.float32):
        model.to(dtype)
        still(model)
        optimizer.step()
        expected = sh.Syre(sigma_0=1.0).bias("0.weight", model[0].weight)
        assert torch.allclose(model[0].weight, expected)


@pytest.mark.parametrize("kind", ["syre", "pull", "pull of the wrapped"])
def test_wrapped_models_are_pulled_by_the_names_of_what_they_wrap(kind):
    wrapped = nn.Module()
    wrapped.module = net()
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=1.0)
    syre, target = sh.Syre(1.0, sigma_0=1.0), values(net(seed=2))
    if kind == "syre":
        target = syre.pull(target).centre
        syre.attach(optimizer, wrapped)
    else:
        prefix = "" if kind == "pull" else "module."
        point = {prefix + name: p for name, p in target.items()}
        attach_pull(around(sh.Pull(1.0), point), optimizer, wrapped)
    still(wrapped)
    optimizer.step()  # lr * weight_decay = 1 lands on the centre
    assert largest_difference(values(wrapped.module), target) < 1e-15


def test_attach_notices_that_its_parameters_were_replaced():
    model = net()
    optimizer = sgd(model.parameters())
    sh.Syre(0.5).attach(optimizer, model)
    optimizer.param_groups[0]["params"] = list(net().parameters())
    with pytest.raises(ValueError, match="shard or prepare the model first"):
        optimizer.step()


def test_attach_refuses_what_would_mislead():
    model, syre = net(), sh.Syre()
    with pytest.raises(ValueError, match=r"weight_decay=0\.1"):
        syre.attach(sgd(model.parameters(), 0.1), model)
    with pytest.raises(ValueError, match="none of the model's parameters"):
        syre.attach(sgd(net().parameters()), model)
    syre.parametrize(model)
    for call, words in [
        (lambda: syre.attach(sgd(model.parameters()), model), "under parametrize"),
        (lambda: syre.penalty(model), "under parametrize"),
        (lambda: syre.parametrize(model), "parametrized already"),
        (lambda: syre.parametrize(nn.LSTM(3, 3)), "LSTM"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize(
    ("dtype", "lr", "attach", "words"),
    [
        (torch.bfloat16, 0.1, sh.Syre().attach, "float32 master weights"),
        (torch.float32, 0.01, sh.Syre(1e-4).attach, "below the rounding"),
        (torch.float32, 0.1, sh.Syre(1e-2).attach, ""),
        # The default at AdamW's usual rate: what is lost is 1% of the direction.
        (torch.float32, 1e-3, sh.Syre().attach, ""),
        (torch.float32, 1e-3, sh.Syre(1e-3).attach, "0.1 is enough at AdamW's"),
        # In absolute units too: a small bias beside weights of size 1.
        (torch.float32, 1e-3, sh.Syre(1e-2, sigma_0=1e-4).attach, "below the rounding"),
        (torch.float32, 1e-1, sh.Syre(1e-2, sigma_0=1e-2).attach, ""),
        (
            torch.float32,
            2e-5,
            lambda *both: attach_pull(sh.Pull(1e-3), *both),
            "below the rounding",
        ),
        (torch.float64, 2e-5, lambda *both: attach_pull(sh.Pull(1e-3), *both), ""),
    ],
)
def test_a_pull_below_the_rounding_is_warned_of(dtype, lr, attach, words):
    model = net(dtype)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attach(sgd(model.parameters(), lr=lr), model)
    assert [w.category for w in caught] == [sh.SyreWarning] * bool(words)
    assert all(words in str(w.message) for w in caught)


# ---- any optimizer, any loop -------------------------------------------------------------------

GROUPS = {"0.weight": 0.1, "0.bias": 0.1, "2.weight": 0.02, "2.bias": 0.02}


def grouped(make):
    """Make an optimizer with another learning rate for each layer."""

    def make_optimizer(model):
        first = [{"params": list(model[0].parameters()), "lr": 0.1}]
        return make([*first, {"params": list(model[2].parameters()), "lr": 0.02}])

    return make_optimizer


OPTIMIZERS = {
    "AdamW foreach": lambda g: torch.optim.AdamW(g, weight_decay=0, foreach=True),
    "AdamW fused": lambda g: torch.optim.AdamW(g, weight_decay=0, fused=True),
    "AdamW loop": lambda g: torch.optim.AdamW(g, weight_decay=0, foreach=False),
    "SGD momentum": lambda g: torch.optim.SGD(g, momentum=0.9, nesterov=True),
    "SGD fused": lambda g: torch.optim.SGD(g, momentum=0.9, fused=True),
    "Adam": torch.optim.Adam,
    "RMSprop": lambda g: torch.optim.RMSprop(g, momentum=0.5, centered=True),
    "Adagrad": torch.optim.Adagrad,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "Adamax": torch.optim.Adamax,
    "Adadelta": torch.optim.Adadelta,
    "ASGD": torch.optim.ASGD,
    "Rprop": torch.optim.Rprop,
}


def pull_by_hand(syre, model):
    for name, p in model.named_parameters():
        one, theta_0, D = {name: p}, {name: syre.bias(name, p)}, {name: syre.metric(name, p)}
        reference.pull_(one, theta_0, D, GROUPS[name], DECAY)


def accumulate(model, x, y):
    """Add up the gradients of three parts of the batch."""
    for k in range(3):
        ((model(x[k::3]) - y[k::3]).square().sum() / y.numel()).backward()


@pytest.fixture(params=[True, False], ids=["stored", "computed"])
def store(request, monkeypatch):
    """Attach with theta_0 stored, or computed in every step (here without a compiler)."""
    monkeypatch.setattr(on_the_fly, "_kernel", lambda *_: None)
    return request.param


@pytest.mark.parametrize("sigma_D", [0.0, 0.2], ids=["basic", "advanced"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_with_groups_and_accumulation(name, sigma_D, store):
    make, (x, y) = grouped(OPTIMIZERS[name]), task()
    syre = sh.Syre(DECAY, sigma_ratio=0.3, sigma_D=sigma_D, seed=3)
    runs = [(model, make(model)) for model in (net(), net(), net())]
    (attached, pulled), (by_hand, _), (vanilla, _) = runs
    syre.attach(pulled, attached, store=store)
    for _ in range(10):
        for model, optimizer in runs:
            optimizer.zero_grad()
            accumulate(model, x, y)
            if model is by_hand:
                pull_by_hand(syre, model)
            optimizer.step()
    assert (flat(attached) - flat(by_hand)).abs().max() < 1e-12
    assert (flat(vanilla) - flat(by_hand)).abs().max() > 1e-3


class SideBySide:
    """A model with a pull attached and its twin, which is pulled by hand, step by step."""

    def __init__(self, name, store, dtype=torch.float64, wrap=lambda model: model):
        make, self.syre = grouped(OPTIMIZERS[name]), sh.Syre(DECAY, sigma_ratio=0.3)
        inner, self.by_hand, self.data = net(dtype), net(dtype), task(dtype)
        self.optimizer, self._steps = make(inner), make(self.by_hand)
        self.model = wrap(inner)
        self.syre.attach(self.optimizer, self.model, store=store)

    def loss(self, model=None):
        x, y = self.data
        return ((model or self.model)(x) - y).square().mean()

    def step_by_hand(self):
        self._steps.zero_grad()
        loss = self.loss(self.by_hand)
        loss.backward()
        pull_by_hand(self.syre, self.by_hand)
        self._steps.step()
        return loss.item()

    def difference(self):
        return (flat(self.model) - flat(self.by_hand)).abs().max()


def test_a_closure_is_pulled_after_its_gradients(store):
    """As AdamW decays: the gradient belongs to the parameters before the pull."""
    both = SideBySide("SGD momentum", store)

    def closure():
        both.optimizer.zero_grad()
        loss = both.loss()
        loss.backward()
        return loss

    for step in range(5):
        given = ((closure,), {}) if step % 2 else ((), {"closure": closure})
        loss = both.optimizer.step(*given[0], **given[1])
        assert loss.item() == pytest.approx(both.step_by_hand(), rel=1e-12)
    assert both.difference() < 1e-12


class Twice(torch.optim.Optimizer):
    """Evaluates twice per step, and stays where it is."""

    def step(self, closure):
        return [closure(), closure()]


def test_a_step_that_evaluates_twice_is_pulled_once(store):
    model, syre = net(), sh.Syre(DECAY, sigma_ratio=0.3)
    before = values(model)
    optimizer = Twice(model.parameters(), {"lr": 0.1})
    syre.attach(optimizer, model, store=store)
    optimizer.step(lambda: sum(p.sum() for p in model.parameters()).backward())
    expected = syre.pull(before)
    for name, p in values(model).items():
        torch.testing.assert_close(p, expected.decoupled(name, before[name], 0.1))


@pytest.mark.parametrize("name", ["AdamW foreach", "AdamW fused", "SGD momentum", "SGD fused"])
def test_a_step_that_the_gradient_scaler_skips_is_not_pulled(name, store):
    """Fused optimizers are called even then, and leave the parameters alone themselves."""
    both = SideBySide(name, store, torch.float32)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(6):
        both.optimizer.zero_grad()
        scaler.scale(both.loss()).backward()
        before, skipped = flat(both.model).clone(), step in (1, 4)
        if skipped:
            both.model[0].bias.grad[0] = float("inf")
        scaler.step(both.optimizer)
        scaler.update()
        if skipped:
            assert torch.equal(flat(both.model), before)
        else:
            both.step_by_hand()
    assert scaler.get_scale() == 256.0, "two steps were skipped"
    assert both.difference() < 1e-5


def test_compiled_models_are_pulled_by_their_own_names(store):
    both = SideBySide("AdamW foreach", store, wrap=lambda m: torch.compile(m, backend="eager"))
    assert all(name.startswith("_orig_mod.") for name, _ in both.model.named_parameters())
    for _ in range(5):
        both.optimizer.zero_grad()
        both.loss().backward()
        both.optimizer.step()
        both.step_by_hand()
    assert both.difference() < 1e-12


# ---- where it goes -----------------------------------------------------------------------------

STEPS = 40


def cosine(optimizer):
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)


def warm_up_and_down(optimizer):
    up = lr_scheduler.LambdaLR(optimizer, lambda t: t / 10)  # the first step has the rate 0
    down = lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    return lr_scheduler.SequentialLR(optimizer, [up, down], milestones=[10])


def rates_of_cosine(t):
    return 0.5 * (1 + torch.cos(torch.pi * t / STEPS))


def rates_of_warm_up(t):
    return torch.where(t < 10, t / 10, 0.9 ** (t - 10))


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")  # within SequentialLR itself
@pytest.mark.parametrize(
    ("schedule", "rates"), [(cosine, rates_of_cosine), (warm_up_and_down, rates_of_warm_up)]
)
@pytest.mark.parametrize("sigma_D", [0.0, 0.2])
@pytest.mark.parametrize("fine_tuned", [False, True])
def test_without_gradients_the_product_of_the_steps_is_left(schedule, rates, sigma_D, fine_tuned):
    model, syre = net(), sh.Syre(1.0, sigma_ratio=0.5, sigma_D=sigma_D, seed=3)
    start, point = values(model), {n: fine_tuned * p for n, p in values(net(seed=2)).items()}
    optimizer = grouped(torch.optim.SGD)(model)
    changing = schedule(optimizer)
    if fine_tuned:
        attach_pull(around(syre.pull(start), point), optimizer, model)
    else:
        syre.attach(optimizer, model)
    still(model)
    for _ in range(STEPS):
        optimizer.step()
        changing.step()
    each = rates(torch.arange(STEPS, dtype=torch.float64))
    for name, p in values(model).items():
        centre, D, lr = point[name] + syre.bias(name, p), syre.metric(name, p), GROUPS[name]
        left = torch.prod(1 - lr * each.reshape(-1, *[1] * p.ndim) * D, 0)
        assert torch.allclose(p, centre + left * (start[name] - centre), atol=1e-13), name
        # The sum of the rates alone gives it to within a tenth.
        assert ((left.log() / (D * lr * each.sum())) + 1).abs().max() < 0.1


def test_around_the_start_it_is_the_arm_that_pulls_to_the_start():
    model, fitted = net(), net()
    adam = torch.optim.Adam(model.parameters(), lr=0.02)
    attach_pull(around(sh.Pull(DECAY), values(model)), adam, model)
    train(model, adam, 50)
    sh.fit(
        fitted, task(), arms.pull_to_start(DECAY), steps=50, loss=nn.functional.mse_loss,
        coupled=False, optimizer=lambda params: torch.optim.Adam(params, lr=0.02),
    )  # fmt: skip
    assert largest_difference(values(model), values(fitted)) < 1e-12


@pytest.mark.parametrize(
    ("pull", "settings", "words"),
    [
        (sh.Pull(DECAY), {"decay": 0.1}, r"weight_decay=0\.1"),
        (around(sh.Pull(DECAY), {"1.weight": torch.ones(7)}), {}, r"centre has '1\.weight', which"),
        (sh.Pull(DECAY, mask={"0.bias": torch.ones(2)}), {}, r"'0\.bias' has the shape \(2,\)"),
    ],
)
def test_pulls_that_do_not_fit_are_refused(pull, settings, words):
    model = net()
    with pytest.raises(ValueError, match=words):
        attach_pull(pull, sgd(model.parameters(), **settings), model)


# ---- what comes later --------------------------------------------------------------------------


@pytest.mark.parametrize("arrival", ["load_state_dict", "schedule"])
def test_weight_decay_that_arrives_after_attach_is_noticed(arrival):
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0)
    sh.Syre(DECAY).attach(optimizer, model)
    still(model)
    optimizer.step()
    if arrival == "schedule":
        optimizer.param_groups[0]["weight_decay"] = 0.04
    else:
        other = torch.optim.AdamW(net().parameters(), lr=0.1, weight_decay=0.04)
        optimizer.load_state_dict(other.state_dict())
    before = values(model)
    with pytest.raises(ValueError, match=r"group 0 .* weight_decay=0\.04"):
        optimizer.step()
    assert largest_difference(values(model), before) == 0


def test_parameters_that_join_later_are_pulled():
    ends = []
    for layers in ([0, 2], [2]):
        model = net()
        optimizer = sgd([p for k in layers for p in model[k].parameters()])
        sh.Syre(1.0, 0.5).attach(optimizer, model, where=lambda name, p: name != "0.bias")
        if 0 not in layers:
            optimizer.add_param_group({"params": list(model[0].parameters()), "lr": 0.1})
        assert moved(model, optimizer) == {"0.weight", "2.weight", "2.bias"}, "where holds, too"
        ends.append(values(model))
    assert largest_difference(*ends) == 0


def test_parameters_of_no_known_model_that_join_later_are_named():
    model, other = net(), nn.Sequential(nn.Linear(3, 3)).double()
    optimizer = sgd(model.parameters())
    sh.Syre(DECAY).attach(optimizer, model)
    still(model)
    optimizer.step()
    optimizer.add_param_group({"params": list(other.parameters())})
    with pytest.warns(sh.SyreWarning, match=r"got 2 parameters after attach, of shapes \[\(3, 3\)"):
        optimizer.step()
    optimizer.step()  # said once
    sh.Syre(DECAY).attach(optimizer, other)
    third = nn.Linear(2, 2).double()
    optimizer.add_param_group({"params": list(third.parameters())})
    sh.Syre(DECAY).attach(optimizer, third)
    optimizer.step()


# ---- wrappers ----------------------------------------------------------------------------------


class Lookahead(torch.optim.Optimizer):
    """Without Optimizer.__init__, as several libraries have it."""

    def __init__(self, optimizer):
        self._base = optimizer
        self.param_groups = optimizer.param_groups

    def step(self, closure=None):
        return self._base.step(closure)


class SAM(torch.optim.Optimizer):
    """Evaluates twice, and leaves the update to the base optimizer."""

    def __init__(self, params, make):
        super().__init__(params, {"rho": 0.05})
        self.base_optimizer = make(self.param_groups)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self):
        for p in self.param_groups[0]["params"]:
            self.state[p]["old"] = p.clone()
            p += 0.05 * p.grad

    @torch.no_grad()
    def second_step(self):
        for p in self.param_groups[0]["params"]:
            p.copy_(self.state[p]["old"])
        self.base_optimizer.step()


class Duck:
    def __init__(self, optimizer):
        self.inner = optimizer
        self.param_groups = optimizer.param_groups

    def step(self):
        self.inner.step()


WRAPPED = {"lookahead": lambda p: Lookahead(sgd(p)), "sam": lambda p: SAM(p, sgd)}
WRAPPED["duck"] = lambda p: Duck(sgd(p))


@pytest.mark.parametrize("kind", WRAPPED)
def test_wrappers_are_pulled_at_the_step_of_what_they_wrap(kind):
    ends, syre, (x, y) = [], sh.Syre(DECAY, sigma_ratio=0.5), task()
    pull, ones = syre.pull(values(net())), {n: torch.ones_like(p) for n, p in values(net()).items()}
    for attached in (True, False):
        model = net()
        wrapped = WRAPPED[kind](list(model.parameters()))
        if attached:
            syre.attach(wrapped, model)
        for _ in range(8):
            model.zero_grad()
            (model(x) - y).square().mean().backward()
            own = dict(model.named_parameters())
            if kind == "sam":
                wrapped.first_step()
                model.zero_grad()
                (model(x) - y).square().mean().backward()
                own = {n: wrapped.state[p]["old"] for n, p in own.items()}
            if not attached:
                reference.pull_(own, pull.centre, ones, 0.1, DECAY)
            wrapped.second_step() if kind == "sam" else wrapped.step()
        ends.append(values(model))
    assert largest_difference(*ends) < 1e-12


def test_a_learned_step_size_is_followed():
    """As Prodigy and D-Adaptation have it: lr stays 1, and d is what is learned."""
    model = net()
    optimizer = sgd(model.parameters(), lr=1.0)
    optimizer.param_groups[0].update(d0=1e-6, d=0.01)
    sh.Syre(DECAY, sigma_0=0.0).attach(optimizer, model)
    still(model)
    optimizer.step()
    assert torch.allclose(model[0].weight, (1 - 0.01 * DECAY) * net()[0].weight, rtol=1e-15)


class AdamWScheduleFree(torch.optim.SGD):
    pass


class Adahessian(torch.optim.SGD):
    """As timm's: its step differentiates, and a parameter changed before it ends in an error."""


class Unhooked(torch.optim.Optimizer):
    def __init__(self, params):
        self.param_groups = [{"params": list(params), "lr": 0.1}]

    def step(self):
        pass


def without_a_rate(params):
    optimizer = sgd(params)
    optimizer.param_groups[0]["lr"] = None
    return optimizer


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (torch.optim.LBFGS, r"LBFGS.*syre\.penalty"),
        (lambda p: AdamWScheduleFree(p, lr=0.1), "AdamWScheduleFree .* from other points"),
        (lambda p: Duck(AdamWScheduleFree(p, lr=0.1)), "AdamWScheduleFree .* from other points"),
        (lambda p: Adahessian(p, lr=0.1), "Adahessian .* differentiates in its step"),
        (without_a_rate, "SGD chooses its step size out of sight"),
        (Unhooked, r"step\(\) of Unhooked runs no hooks"),
        (lambda p: [sgd(p)], "optimizer is list, which is no"),
    ],
)
def test_optimizers_that_cannot_be_pulled_are_refused_by_name(make, words):
    model = net()
    with pytest.raises((ValueError, TypeError), match=words):
        sh.Syre().attach(make(model.parameters()), model)
    sh.Syre().attach(sgd(model.parameters()), model)  # nothing was left behind


def test_steps_that_the_pull_does_not_see_are_noticed():
    model = net()
    optimizer = sgd(model.parameters())
    handle = sh.Syre(DECAY).attach(optimizer, model)
    train(model, sgd(model.parameters()), 3)
    with pytest.warns(sh.SyreWarning, match="none of its steps was seen"):
        train(model, sgd(model.parameters()), 3)
    handle.remove()
    sh.Syre(DECAY).attach(optimizer, model)
    train(model, optimizer, 5)


# ---- copies, and optimizers that are gone --------------------------------------------------------


def test_after_the_first_optimizer_is_gone_another_can_be_attached():
    model, start = net(), net()
    for _ in range(3):
        optimizer = sgd(model.parameters(), lr=1.0)
        handle = sh.Syre(1.0, sigma_0=0.0).attach(optimizer, model)
        optimizer.itself = optimizer  # a circle, which only a collection of garbage takes away
        del optimizer
    optimizer = sgd(model.parameters(), lr=0.5)
    handle = sh.Syre(1.0, sigma_0=0.0).attach(optimizer, model)
    still(model)
    optimizer.step()
    assert torch.allclose(flat(model), flat(start) / 2, rtol=1e-15), "pulled once"
    handle.remove()


def saved_and_loaded(pair):
    file = io.BytesIO()
    torch.save(pair, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, saved_and_loaded])
@pytest.mark.parametrize("kind", ["syre", "syre, computed", "pull"])
def test_copies_of_model_and_optimizer_go_on_pulling(kind, copied, monkeypatch):
    monkeypatch.setattr(on_the_fly, "_kernel", lambda *_: None)
    model, syre = net(), sh.Syre(DECAY, sigma_ratio=0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    if kind == "pull":
        attach_pull(syre.pull(values(model)), optimizer, model)
    else:
        syre.attach(optimizer, model, where=lambda n, p: True, store=kind == "syre")
    train(model, optimizer, 3)
    twin, other = copied((model, optimizer))
    train(model, optimizer, 5)
    train(twin, other, 5)
    assert largest_difference(values(model), values(twin)) == 0
    with pytest.raises(ValueError, match="earlier attach"):
        sh.Syre(DECAY).attach(sgd(twin.parameters()), twin)
    alone = copied(model)  # without its optimizer it is free
    sh.Syre(DECAY).attach(sgd(alone.parameters()), alone)
    assert "syre" not in str(optimizer.state_dict()).lower()
