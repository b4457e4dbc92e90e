"""The remedy with timm: its groups, optimizers, schedules, averages and checkpoints."""

import copy
import importlib
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import syre_helpers as sh

DECAY, RATE = 0.5, 1e-2
X = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
Y = torch.arange(8) % 4


@pytest.fixture
def timm():
    """Return timm with those of its parts that need to be imported."""
    timm = pytest.importorskip("timm", reason="extra timm")
    for part in ("optim", "scheduler", "utils"):
        importlib.import_module(f"timm.{part}")
    return timm


def vit(timm):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("test_vit", num_classes=4, img_size=32)


def optimizer_of(timm, model, weight_decay=DECAY, **how):
    how = {"opt": "adamw", "lr": RATE, "weight_decay": weight_decay} | how
    return timm.optim.create_optimizer_v2(model, **how)


def take_decay_over(optimizer):
    """Return the parameters that the optimizer decays, and let it decay no longer."""
    decayed = set()
    for group in optimizer.param_groups:
        decayed.update(group["params"] if group["weight_decay"] else ())
        group["weight_decay"] = 0
    return decayed


def attached(timm, syre, **how):
    """Return model, optimizer and handle: syre pulls what timm would have decayed."""
    model = vit(timm)
    optimizer = optimizer_of(timm, model, **how)
    decayed = take_decay_over(optimizer)
    return model, optimizer, syre.attach(optimizer, model, where=lambda name, p: p in decayed)


def backward(model, x=X):
    model.zero_grad()
    functional.cross_entropy(model(x), Y).backward()


def train(model, optimizer, steps, after=lambda step: None):
    for step in range(steps):
        backward(model)
        optimizer.step()
        after(step)


def params(model):
    return {name: p.detach().clone() for name, p in sh.effective_parameters(model).items()}


def apart(one, other):
    one, other = (each if isinstance(each, dict) else params(each) for each in (one, other))
    return max(float((one[name] - other[name]).abs().max()) for name in one)


# ---- groups, layer decay, schedules, and every optimizer -----------------------------------------


def test_syre_pulls_what_timm_would_have_decayed_at_the_rate_of_its_layer(timm):
    syre = sh.Syre(DECAY, sigma_ratio=0.1)
    model, optimizer, handle = attached(timm, syre, layer_decay=0.5)
    left_out = {name for name, p in model.named_parameters() if p.ndim > 1} - set(handle.named)
    assert left_out == {"cls_token", "pos_embed"} < model.no_weight_decay()
    assert all(p.ndim > 1 for p in handle.named.values())

    schedule = timm.scheduler.CosineLRScheduler(optimizer, t_initial=4, lr_min=1e-4)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(set(rates.values())) > 4, "layers have rates of their own"
    schedule.step(2)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert max(rates.values()) == pytest.approx((RATE + 1e-4) / 2)

    before = params(model)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        theta_0 = syre.bias(name, p)
        pulled = before[name] - rates[p] * DECAY * (before[name] - theta_0)
        torch.testing.assert_close(p.detach(), pulled if name in handle.named else before[name])


def small():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 4)
        ).double()


@pytest.mark.filterwarnings("ignore")  # by timm's, of what PyTorch is to do otherwise some day
def test_every_optimizer_of_timm_is_pulled_before_its_step_or_refused(timm):
    x, pulled, refused = X[..., :8, :8].double(), [], []
    # Without those that need a GPU, and PSGD, which compiles for a minute.
    names = timm.optim.list_optimizers(exclude_filters=["bnb*", "fused*", "kron*"])
    for name in [*names, "lookahead_adamw"]:
        one, other = small(), small()
        optimizer, plain = (optimizer_of(timm, m, 0.0, opt=name) for m in (one, other))
        syre = sh.Syre(DECAY, sigma_ratio=1.0)
        try:
            handle = syre.attach(optimizer, one)
        except ValueError as error:
            refused.append((name, str(error)))
            continue
        centre = syre.pull(dict(other.named_parameters())).centre
        for _ in range(3):
            backward(one, x)
            optimizer.step()
            backward(other, x)
            with torch.no_grad():
                for key, p in other.named_parameters():
                    p -= plain.param_groups[0]["lr"] * DECAY * (p - centre[key])
            plain.step()
        assert apart(one, other) < 1e-9, name
        assert apart(one, small()) > 1e-5, name
        handle.remove()
        pulled.append(name)
    assert len(pulled) > 50
    assert [name for name, _ in refused] == ["adahessian"]
    assert "differentiates in its step" in refused[0][1]


# ---- both decays at once -------------------------------------------------------------------------


def test_a_decay_that_timm_left_on_is_refused_now_and_after_a_checkpoint(timm, tmp_path):
    model = vit(timm)
    optimizer = optimizer_of(timm, model)
    old = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"group 1 of the optimizer has weight_decay=0\.5"):
        sh.Syre(DECAY).attach(optimizer, model)

    decayed = take_decay_over(optimizer)
    sh.Syre(DECAY).attach(optimizer, model, where=lambda name, p: p in decayed)
    train(model, optimizer, 1)
    optimizer.load_state_dict(old)  # of a run before syre
    backward(model)
    with pytest.raises(ValueError, match=r"set it to 0 again after optimizer\.load_state_dict"):
        optimizer.step()


# ---- checkpoints and averages --------------------------------------------------------------------


def test_a_run_goes_on_from_a_checkpoint_of_timm_to_the_last_bit(timm, tmp_path):
    def prepared(syre):
        model, optimizer, handle = attached(timm, syre, layer_decay=0.75)
        average = timm.utils.ModelEmaV3(model, decay=0.5)
        schedule = timm.scheduler.CosineLRScheduler(optimizer, t_initial=8)
        return model, optimizer, handle, average, schedule

    def epochs(first, last):
        for epoch in range(first, last):
            train(model, optimizer, 2, after=lambda step: average.update(model))
            schedule.step(epoch + 1)

    syre = sh.Syre(DECAY, sigma_ratio=0.1, seed=3)
    model, optimizer, handle, average, schedule = prepared(syre)
    folder = str(tmp_path)
    saver = timm.utils.CheckpointSaver(
        model, optimizer, model_ema=average, checkpoint_dir=folder, recovery_dir=folder
    )
    torch.save(syre.state_dict(), tmp_path / "syre.pt")
    epochs(0, 2)
    saver.save_checkpoint(epoch=1)
    epochs(2, 4)
    straight, straight_average = params(model), params(average.module)
    handle.remove()

    file, same = str(Path(folder, "last.pth.tar")), sh.Syre(DECAY, sigma_ratio=0.1, seed=8)
    model, optimizer, handle, average, schedule = prepared(same)
    with pytest.warns(sh.SyreWarning, match="the state has seed=3"):
        same.load_state_dict(torch.load(tmp_path / "syre.pt", weights_only=True))
    start = timm.models.resume_checkpoint(model, file, optimizer, log_info=False)
    timm.models.load_checkpoint(average.module, file, use_ema=True)
    schedule.step(start)
    epochs(start, 4)
    assert apart(straight, model) == 0
    assert apart(straight_average, average.module) == 0
    assert apart(straight, straight_average) > 0


def test_the_papers_form_decays_by_the_groups_of_timm_and_is_averaged(timm):
    syre, model = sh.Syre(DECAY, sigma_ratio=0.1), vit(timm)
    optimizer = optimizer_of(timm, model)
    groups = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    before, kept = model.eval()(X), dict(model.named_parameters())
    syre.parametrize(model, where=lambda name, p: groups[p] > 0)
    torch.testing.assert_close(model(X), before)
    with pytest.raises(RuntimeError):  # of the model as it was: it would mix up the values
        timm.utils.ModelEmaV3(vit(timm)).update(model)
    average = timm.utils.ModelEmaV3(model, decay=0.5)
    by_hand = params(model)
    for _ in range(3):
        train(model, optimizer, 1)
        average.update(model)
        now = params(model)
        by_hand = {name: (by_hand[name] + now[name]) / 2 for name in now}
    syre.remove(average.module)
    assert apart(by_hand, average.module) < 1e-6

    theta_0, p = syre.bias("head.weight", model.head.weight), model.head.weight.detach()
    for one in model.parameters():
        one.grad = torch.zeros_like(one)
    optimizer.state.clear()
    optimizer.step()
    torch.testing.assert_close(model.head.weight.detach(), p - RATE * DECAY * (p - theta_0))
    assert model.cls_token is kept["cls_token"], "what timm does not decay is left as it was"

    # Why the optimizer is made before: by their new names timm would decay these two, too.
    late = vit(timm)
    sh.Syre(DECAY).parametrize(late)
    decayed = take_decay_over(optimizer_of(timm, late))
    assert {late.parametrizations[name].original for name in ("cls_token", "pos_embed")} < decayed


# ---- speed ---------------------------------------------------------------------------------------


def test_a_layout_and_a_lower_precision_change_nothing_of_the_pull(timm):
    def after(layout, steps=3):
        model, optimizer, _ = attached(timm, sh.Syre(DECAY, sigma_ratio=0.1))
        model.to(memory_format=layout)
        train(model, optimizer, steps)
        return params(model)

    torch.testing.assert_close(
        after(torch.channels_last), after(torch.contiguous_format), rtol=0, atol=2e-5
    )

    model, optimizer, _ = attached(timm, sh.Syre(DECAY, sigma_ratio=0.1))
    scaler, before = timm.utils.NativeScaler(device="cpu"), params(model)
    for x, steps in ((X * float("inf"), False), (X, True)):  # a step that is skipped pulls nothing
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.cross_entropy(model(x), Y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scaler(loss, optimizer, clip_grad=1.0, parameters=model.parameters())
        optimizer.zero_grad()
        assert (apart(before, model) > 0) == steps
