"""Pulls around a point: their mathematics on an optimizer, and what they refuse."""

import warnings

import pytest
import torch
from torch import nn

import syre_helpers as sh
from syre_helpers import arms
from syre_helpers.removal import around, attach_pull

DECAY = 0.05


def net(dtype=torch.float64, seed=1):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).to(dtype)


def task():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 64, 5, generator=generator, dtype=torch.float64)
    return x, y[:, :2]


def values(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def still(model):
    """Give all parameters a gradient of zero, so that the pull alone moves them."""
    for p in model.parameters():
        p.grad = torch.zeros_like(p)


def steps(model, optimizer, count):
    x, y = task()
    for _ in range(count):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()


def largest_difference(a, b):
    return max(float((a[n] - b[n]).abs().max()) for n in a)


def test_the_centre_is_the_point_plus_theta_0():
    syre = sh.Syre(DECAY, sigma_ratio=0.5, sigma_D=0.2, seed=4)
    pull = syre.pull(values(net()))
    point = values(net(seed=2))
    moved = around(pull, point)
    for name, p in point.items():
        expected = p + syre.bias(name, p)
        assert torch.equal(moved.centre[name], expected)
        assert torch.equal(moved.xi[name], pull.xi[name])
        # gamma (p - c)^T D (p - c) is zero at the centre, and its slope elsewhere is the force
        assert not moved.force(name, expected).any()
    before = point["0.bias"].clone()
    point["0.bias"] += 1
    assert torch.equal(moved.centre["0.bias"], before + syre.bias("0.bias", before)), "copied"


def test_names_that_the_point_has_not_keep_their_centre():
    pull = sh.Syre(DECAY, sigma_ratio=0.5).pull(values(net()))
    moved = around(pull, {"0.bias": torch.ones(7, dtype=torch.float64)})
    for name, centre in pull.centre.items():
        assert torch.equal(moved.centre[name], centre + (name == "0.bias"))


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


@pytest.mark.parametrize(
    ("make", "limit"),
    [(torch.optim.SGD, 1e-12), (torch.optim.Adam, 1e-12), (torch.optim.AdamW, 1e-12)],
)
def test_it_is_the_arm_of_the_stacked_trainer(make, limit):
    """The loop of one's own, `fit` with the same arm, and at zero bias `arms.pull_to_start`."""
    settings = {"lr": 0.02} | ({"weight_decay": 0} if make is torch.optim.AdamW else {})

    def attached(sigma_ratio):
        model = net()
        pull = sh.Syre(DECAY, sigma_ratio, seed=3).pull(values(model))
        optimizer = make(model.parameters(), **settings)
        attach_pull(around(pull, values(model)), optimizer, model)
        steps(model, optimizer, 50)
        return values(model)

    def fitted(arm):
        model = net()
        sh.fit(
            model, task(), arm, steps=50, loss=nn.functional.mse_loss, coupled=False, seed=3,
            optimizer=lambda params: make(params, **settings),
        )  # fmt: skip
        return values(model)

    arm = sh.Arm(
        "fine-tuning",
        pull=lambda params, seed, step: around(sh.Syre(DECAY, 0.3, seed=seed).pull(params), params),
    )
    tuned = attached(0.3)
    assert largest_difference(tuned, fitted(arm)) < limit
    assert largest_difference(attached(0.0), fitted(arms.pull_to_start(DECAY))) < limit
    assert largest_difference(tuned, attached(0.0)) > 1e-4, "the bias counts"


def test_without_a_point_it_is_syre_attached():
    def trained(attach):
        model = net()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        syre = sh.Syre(DECAY, sigma_ratio=0.3, sigma_D=0.2, seed=3)
        attach(syre, optimizer, model)
        steps(model, optimizer, 50)
        return values(model)

    plain = trained(lambda syre, optimizer, model: syre.attach(optimizer, model))
    by_pull = trained(
        lambda syre, optimizer, model: attach_pull(syre.pull(values(model)), optimizer, model)
    )
    assert largest_difference(plain, by_pull) < 1e-12


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


def test_what_it_refuses():
    model = net()

    def sgd(decay=0.0, lr=0.1):
        return torch.optim.SGD(model.parameters(), lr=lr, weight_decay=decay)

    with pytest.raises(ValueError, match=r"weight_decay=0\.1"):
        attach_pull(sh.Pull(DECAY), sgd(decay=0.1), model)
    with pytest.raises(ValueError, match=r"centre has '1\.weight', which is no parameter"):
        attach_pull(around(sh.Pull(DECAY), {"1.weight": torch.ones(7)}), sgd(), model)
    with pytest.raises(ValueError, match=r"mask of '0\.bias' has the shape \(2,\)"):
        attach_pull(sh.Pull(DECAY, mask={"0.bias": torch.ones(2)}), sgd(), model)
    with pytest.raises(ValueError, match=r"point\['0\.bias'\] has the shape \(3,\)"):
        around(sh.Syre().pull(values(model)), {"0.bias": torch.ones(3)})
    with pytest.raises(ValueError, match="where selects no parameter"):
        attach_pull(sh.Pull(DECAY), sgd(), model, where=lambda n, p: False)
    single = net(torch.float32)
    weak = torch.optim.SGD(single.parameters(), lr=2e-5)
    with pytest.warns(sh.SyreWarning, match="below the rounding"):
        attach_pull(sh.Pull(1e-3), weak, single)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attach_pull(sh.Pull(1e-3), sgd(lr=2e-5), model)
