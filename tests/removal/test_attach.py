"""A pull on any optimizer in any loop: where it goes, when, and what is refused."""

import copy
import io
import warnings

import pytest
import torch
from torch import nn

import syre_helpers as sh
import two_processes
from small_task import flat, largest_difference, net, still, task, train, values
from syre_helpers import arms, reference
from syre_helpers.removal import around, attach_pull, on_the_fly

DECAY = 0.05


def sgd(params, decay=0.0, lr=0.1):
    return torch.optim.SGD(params, lr=lr, weight_decay=decay)


def test_attach_ends_with_remove_and_can_be_repeated():
    model = net()
    optimizer = sgd(model.parameters())
    still(model)
    start = flat(model)
    handle = sh.Syre(DECAY).attach(optimizer, model)
    with pytest.raises(ValueError, match=r"'0.weight'.*earlier attach"):
        sh.Syre(DECAY).attach(optimizer, model)
    handle.remove()
    optimizer.step()
    assert torch.equal(flat(model), start)
    sh.Syre(DECAY).attach(optimizer, model)
    optimizer.step()
    assert not torch.equal(flat(model), start)


def test_where_selects_parameters():
    model = net()
    optimizer = sgd(model.parameters())
    sh.Syre(DECAY, seed=2).attach(optimizer, model, where=lambda name, p: p.ndim > 1)
    still(model)
    start = sh.effective_parameters(net())
    optimizer.step()
    changed = {n for n, p in sh.effective_parameters(model).items() if not torch.equal(p, start[n])}
    assert changed == {"0.weight", "2.weight"}
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


def test_wrapped_models_get_the_same_bias():
    plain, wrapped = net(), nn.Module()
    wrapped.module = net()
    for model in (plain, wrapped):
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        sh.Syre(1.0, sigma_0=1.0).attach(optimizer, model)
        still(model)
        optimizer.step()
    assert torch.equal(plain[0].weight, wrapped.module[0].weight)


def test_attach_notices_that_its_parameters_were_replaced():
    model = two_processes.made(two_processes.mlp)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sh.Syre(0.5).attach(optimizer, model)
    new = [nn.Parameter(p.detach().clone()) for p in model.parameters()]
    optimizer.param_groups[0]["params"] = new
    with pytest.raises(ValueError, match="shard or prepare the model first"):
        optimizer.step()


def test_attach_refuses_what_would_mislead():
    model = net()
    with pytest.raises(ValueError, match=r"weight_decay=0\.1"):
        sh.Syre().attach(sgd(model.parameters(), 0.1), model)
    with pytest.raises(ValueError, match="none of the model's parameters"):
        sh.Syre().attach(sgd(net().parameters(), 0), model)
    sh.Syre().parametrize(model)
    with pytest.raises(ValueError, match="under parametrize"):
        sh.Syre().attach(sgd(model.parameters()), model)
    with pytest.raises(ValueError, match="under parametrize"):
        sh.Syre().penalty(model)
    with pytest.raises(ValueError, match="parametrized already"):
        sh.Syre().parametrize(model)
    with pytest.raises(ValueError, match="LSTM"):
        sh.Syre().parametrize(nn.LSTM(3, 3))


def test_low_precision_is_warned_of():
    model = net(torch.bfloat16)
    with pytest.warns(sh.SyreWarning, match="float32 master weights"):
        sh.Syre().attach(sgd(model.parameters()), model)
    single = net(torch.float32)
    with pytest.warns(sh.SyreWarning, match="rounding"):
        sh.Syre(1e-4).attach(torch.optim.SGD(single.parameters(), lr=0.01), single)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh = net(torch.float32)
        sh.Syre(1e-2).attach(torch.optim.SGD(fresh.parameters(), lr=0.1), fresh)


def test_training_from_a_warm_up_at_rate_zero_works():
    model = net(torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sh.Syre(0.1).attach(optimizer, model)
    start = flat(model)
    still(model)
    optimizer.step()
    assert torch.equal(flat(model), start)


# ---- attach_pull -------------------------------------------------------------------------------


def test_without_gradients_it_goes_to_the_point_geometrically():
    model = net()
    pretrained = values(net(seed=2))
    syre = sh.Syre(DECAY, sigma_ratio=0.5, seed=4)
    optimizer = torch.optim.SGD(
        [
            {"params": model[0].parameters(), "lr": 0.1},
            {"params": model[2].parameters(), "lr": 0.4},
        ]
    )
    attach_pull(around(syre.pull(values(model)), pretrained), optimizer, model)
    start = values(model)
    still(model)
    for _ in range(30):
        optimizer.step()
    for name, p in model.named_parameters():
        centre = pretrained[name] + syre.bias(name, p)
        left = (1 - (0.1 if name.startswith("0") else 0.4) * DECAY) ** 30
        assert torch.allclose(p, centre + left * (start[name] - centre), rtol=0, atol=1e-14), name


def test_at_rest_on_a_quadratic_loss_it_stands_between_the_data_and_the_centre():
    """With curvature h and the data's optimum q the pull rests at (h q + decay c) / (h + decay)."""
    model = nn.Linear(1, 1, bias=False).double()
    q, h, centre = 3.0, 2.0, {"weight": torch.full((1, 1), -1.0, dtype=torch.float64)}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attach_pull(around(sh.Pull(0.5), centre), optimizer, model)
    for _ in range(500):
        optimizer.zero_grad()
        (h / 2 * (model.weight - q).square()).sum().backward()
        optimizer.step()
    assert model.weight.item() == pytest.approx((h * q - 0.5) / (h + 0.5), abs=1e-9)


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


def test_masks_freeze_and_where_chooses():
    model = net()
    frozen = {"0.weight": torch.zeros(7, 5, dtype=torch.float64)}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attach_pull(sh.Pull(DECAY, mask=frozen), optimizer, model, where=lambda n, p: p.ndim > 1)
    start = values(model)
    still(model)
    optimizer.step()
    assert torch.equal(model[0].weight, start["0.weight"])
    assert torch.equal(model[2].bias, start["2.bias"]), "not chosen"
    assert torch.allclose(model[2].weight, (1 - 0.1 * DECAY) * start["2.weight"])


def test_names_of_wrapped_models_are_understood():
    wrapped = nn.Module()
    wrapped.module = net()
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=1.0)
    target = values(net(seed=2))
    attach_pull(
        around(sh.Pull(1.0), {f"module.{n}": p for n, p in target.items()}), optimizer, wrapped
    )
    still(wrapped)
    optimizer.step()  # lr * weight_decay = 1 lands on the centre
    assert largest_difference(values(wrapped.module), target) < 1e-15


def test_it_ends_with_remove_and_leaves_parameters_without_gradients_alone():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = attach_pull(sh.Pull(DECAY), optimizer, model)
    still(model)
    model[0].bias.grad = None
    start = values(model)
    optimizer.step()
    assert torch.equal(model[0].bias, start["0.bias"])
    assert not torch.equal(model[2].bias, start["2.bias"])
    with pytest.raises(ValueError, match=r"earlier attach"):
        sh.Syre(DECAY).attach(optimizer, model)
    handle.remove()
    after = values(model)
    still(model)
    optimizer.step()
    assert largest_difference(values(model), after) == 0
    sh.Syre(DECAY).attach(optimizer, model)


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


def test_a_pull_below_the_rounding_is_warned_of():
    single = net(torch.float32)
    weak = torch.optim.SGD(single.parameters(), lr=2e-5)
    with pytest.warns(sh.SyreWarning, match="below the rounding"):
        attach_pull(sh.Pull(1e-3), weak, single)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wide = net()
        attach_pull(sh.Pull(1e-3), sgd(wide.parameters(), lr=2e-5), wide)


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


def test_a_closure_is_pulled_after_its_gradients(store):
    """As AdamW decays: the gradient belongs to the parameters before the pull."""
    (x, y), syre = task(), sh.Syre(DECAY, sigma_ratio=0.3)
    make = grouped(OPTIMIZERS["SGD momentum"])
    attached, by_hand = net(), net()
    optimizer, reference = make(attached), make(by_hand)
    syre.attach(optimizer, attached, store=store)
    for step in range(5):

        def closure():
            optimizer.zero_grad()
            loss = (attached(x) - y).square().mean()
            loss.backward()
            return loss

        loss = optimizer.step(closure) if step % 2 else optimizer.step(closure=closure)
        reference.zero_grad()
        expected = (by_hand(x) - y).square().mean()
        expected.backward()
        pull_by_hand(syre, by_hand)
        reference.step()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert (flat(attached) - flat(by_hand)).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["AdamW foreach", "AdamW fused", "SGD momentum", "SGD fused"])
def test_a_step_that_the_gradient_scaler_skips_is_not_pulled(name, store):
    """Fused optimizers are called even then, and leave the parameters alone themselves."""
    (x, y), syre = task(torch.float32), sh.Syre(DECAY, sigma_ratio=0.3)
    make = grouped(OPTIMIZERS[name])
    attached, by_hand = net(torch.float32), net(torch.float32)
    optimizer, reference = make(attached), make(by_hand)
    syre.attach(optimizer, attached, store=store)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(6):
        optimizer.zero_grad()
        scaler.scale((attached(x) - y).square().mean()).backward()
        before = flat(attached).clone()
        if step in (1, 4):
            attached[0].bias.grad[0] = float("inf")
        scaler.step(optimizer)
        scaler.update()
        if step in (1, 4):
            assert torch.equal(flat(attached), before)
            continue
        reference.zero_grad()
        (by_hand(x) - y).square().mean().backward()
        pull_by_hand(syre, by_hand)
        reference.step()
    assert scaler.get_scale() == 256.0, "two steps were skipped"
    assert (flat(attached) - flat(by_hand)).abs().max() < 1e-5


def test_compiled_models_are_pulled_by_their_own_names(store):
    (x, y), syre = task(), sh.Syre(DECAY, sigma_ratio=0.3)
    make = grouped(OPTIMIZERS["AdamW foreach"])
    inner, by_hand = net(), net()
    compiled = torch.compile(inner, backend="eager")
    assert all(name.startswith("_orig_mod.") for name, _ in compiled.named_parameters())
    optimizer, reference = make(inner), make(by_hand)
    syre.attach(optimizer, compiled, store=store)
    for _ in range(5):
        for model, steps in ((compiled, optimizer), (by_hand, reference)):
            steps.zero_grad()
            (model(x) - y).square().mean().backward()
        pull_by_hand(syre, by_hand)
        optimizer.step()
        reference.step()
    assert (flat(inner) - flat(by_hand)).abs().max() < 1e-12


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
    model, at_once = net(), net()
    optimizer, reference_ = sgd(model[2].parameters()), sgd(at_once.parameters())
    for m, o in ((model, optimizer), (at_once, reference_)):
        sh.Syre(1.0, sigma_ratio=0.5).attach(o, m, where=lambda name, p: name != "0.bias")
    optimizer.add_param_group({"params": list(model[0].parameters()), "lr": 0.1})
    for m, o in ((model, optimizer), (at_once, reference_)):
        still(m)
        o.step()
    assert largest_difference(values(model), values(at_once)) == 0
    assert torch.equal(model[0].bias, net()[0].bias), "where holds for them too"
    assert not torch.equal(model[0].weight, net()[0].weight)


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


@pytest.mark.parametrize("kind", ["lookahead", "sam", "duck"])
def test_wrappers_are_pulled_at_the_step_of_what_they_wrap(kind):
    def trained(attached):
        model, (x, y) = net(), task()
        params = list(model.parameters())
        wrapped = {
            "lookahead": lambda: Lookahead(sgd(params)),
            "sam": lambda: SAM(params, sgd),
            "duck": lambda: Duck(sgd(params)),
        }[kind]()
        syre = sh.Syre(DECAY, sigma_ratio=0.5)
        if attached:
            syre.attach(wrapped, model)
        for _ in range(8):
            for last in (False, True) if kind == "sam" else (True,):
                model.zero_grad()
                (model(x) - y).square().mean().backward()
                if not last:
                    wrapped.first_step()
            if not attached:
                pull = syre.pull(values(model))
                own = dict(model.named_parameters())
                if kind == "sam":
                    own = {n: wrapped.state[p]["old"] for n, p in own.items()}
                ones = {n: torch.ones_like(p) for n, p in own.items()}
                reference.pull_(own, pull.centre, ones, 0.1, DECAY)
            wrapped.second_step() if kind == "sam" else wrapped.step()
        return values(model)

    assert largest_difference(trained(True), trained(False)) < 1e-12


def embedding():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Embedding(6, 4, padding_idx=2), nn.Flatten(), nn.Linear(12, 2)
        return nn.Sequential(*layers).double()


@pytest.mark.parametrize("sigma_D", [0.0, 0.2])
@pytest.mark.parametrize("form", ["attach", "penalty", "parametrize"])
def test_a_padding_row_stays_at_zero(form, sigma_D, store):
    model, (x, y) = embedding(), (torch.tensor([[0, 1, 2], [5, 2, 2]]), torch.ones(2, 2).double())
    syre = sh.Syre(DECAY, sigma_ratio=1.0, sigma_D=sigma_D)
    if form == "parametrize":
        syre.parametrize(model)
    optimizer = sgd(model.parameters(), DECAY if form == "parametrize" else 0.0)
    if form == "attach":
        syre.attach(optimizer, model, store=store)
    start = sh.effective_parameters(model)["0.weight"].clone()
    for _ in range(20):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        (loss + syre.penalty(model) if form == "penalty" else loss).backward()
        optimizer.step()
    moved = (sh.effective_parameters(model)["0.weight"] - start).abs().sum(1)
    assert moved[2] == 0
    assert moved[[0, 1, 3, 4, 5]].min() > 1e-3


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
