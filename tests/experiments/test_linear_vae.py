"""The linear VAE: its exact loss and closed-form optimum, and what the experiment must show."""

import pytest
import torch
from torch.func import functional_call

import syre_helpers as sh
from syre_helpers import experiments
from syre_helpers.experiments import linear_vae
from syre_helpers.experiments._vae import WithBeta
from syre_helpers.removal import arms

VARIANCES = torch.tensor([6.0, 3.0, 1.5, 0.4, 0.2], dtype=torch.float64)


def points():
    normal = torch.randn(5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    directions = torch.linalg.qr(normal).Q
    return (5 * VARIANCES).sqrt()[:, None] * directions.T, directions


def best_parameters(latents, beta):
    """Return the optimum that the page derives: principal directions, shrunk."""
    x, directions = points()
    top = VARIANCES[:latents]
    size = (top - beta).clamp_min(0).sqrt()
    return x, {
        "encoder": (size / top.clamp_min(beta))[:, None] * directions[:, :latents].T,
        "decoder": directions[:, :latents] * size,
        "log_variance": (beta / top).clamp_max(1).log(),
        "beta": torch.tensor(beta, dtype=torch.float64),
    }


def model(kind=linear_vae.LinearVAE, dead=0):
    torch.manual_seed(0)
    return kind(5, 3, dead).double()


@pytest.mark.parametrize("beta", [0.1, 1.0, 2.0, 10.0])
def test_the_oracle_is_attained_and_stationary(beta):
    x, params = best_parameters(3, beta)
    error, kl = linear_vae.losses(params, x)
    assert (error.mean().item(), kl.mean().item()) == pytest.approx(
        linear_vae.oracle(VARIANCES, 3, beta)
    )

    def loss(p):
        error, kl = linear_vae.losses(p, x)
        return (error / 2 + beta * kl).mean()

    gradient = torch.func.grad(loss)(params)
    assert max(g.abs().max() for g in gradient.values()) < 1e-12
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        near = {
            n: p + 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
            for n, p in params.items()
        }
        assert loss(near) > loss(params)


def test_the_exact_loss_is_the_mean_of_the_sampled_one():
    x, _ = points()
    exact, sampled = model(), model(linear_vae.SampledLinearVAE)
    noise = torch.randn(40_000, 3, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    with torch.no_grad():
        for one in x:
            many_times = torch.cat([one.expand(len(noise), 5), noise], 1)
            values = sampled(many_times)
            error = values.std() / len(noise) ** 0.5
            assert (values.mean() - exact(one[None])[0]).abs() < 4 * error


def test_a_sign_changes_the_sampled_loss_and_not_the_exact_one():
    x, _ = points()

    def flip(p):
        sign = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
        factors = {"encoder": sign[:, None], "decoder": sign}
        return {n: q * factors.get(n, 1.0) for n, q in p.items()}

    reflection = sh.Reflection(flip)
    noise = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    exact, sampled = model(), model(linear_vae.SampledLinearVAE)
    params = {n: p.detach() for n, p in exact.named_parameters()}
    assert reflection.violation(lambda p: functional_call(exact, p, (x,)).mean(), params) < 1e-12
    both = torch.cat([x, noise], 1)
    assert (
        reflection.violation(lambda p: functional_call(sampled, p, (both,)).mean(), params) > 0.01
    )
    dead = dict(params, **linear_vae.symmetrise(params, 2))
    assert (dead["encoder"][1:] == 0).all()
    assert (dead["decoder"][:, 1:] == 0).all()
    assert torch.equal(dead["encoder"][0], params["encoder"][0])


def test_beta_is_never_trained_and_the_decoder_never_pulled():
    params = {n: p.detach().clone() for n, p in model().named_parameters()}
    arm = arms.syre(0.5, 0.1)
    only = WithBeta(arm, 4.0, lambda name: name == "encoder")
    assert only.settings() == arm.settings() | {"beta": 4.0}
    started = only.start(params, 0)
    assert started["beta"] == 4
    assert torch.equal(started["encoder"], params["encoder"])
    pull, whole = only.pull(params, 0, 0), arm.pull(params, 0, 0)
    for name, p in started.items():
        gradient = torch.ones_like(p)
        wanted = gradient
        if name == "beta":
            wanted = torch.zeros_like(p)
        elif name == "encoder":
            wanted = whole.coupled(name, p, gradient)
        assert torch.equal(pull.coupled(name, p, gradient), wanted), name
    fixed = WithBeta(arms.weight_fix(1.0), 1.0, lambda name: name == "encoder")
    assert torch.equal(fixed.start(params, 0)["decoder"], params["decoder"])
    assert not torch.equal(fixed.start(params, 0)["encoder"], params["encoder"])
    assert set(fixed.pull(params, 0, 0).mask) == {"encoder", "beta"}


@pytest.fixture
def last(quick, end):
    return end(quick("linear_vae"))


def test_syre_reaches_the_oracle_and_plain_decay_stays_collapsed(last):
    for arm in ("syre 0.1%", "syre 1%", "syre 10%"):
        assert ((last.excess[arm] - 1).abs() < 0.01).all(), arm
        assert (last.active[arm] == 8).all()
    for arm in ("vanilla", "plain decay", "D only", "symmetric bias 1%", "bias added after 1%"):
        assert (last.excess[arm] > 2).all(), arm
        assert (last.active[arm] == 4).all()


def test_the_collapsed_end_is_the_optimum_with_half_of_the_latents(last):
    config = linear_vae.PRESETS["quick"]
    _, variances = linear_vae.data(config)
    error, kl = linear_vae.oracle(variances, config.latents - config.dead, config.beta)
    assert last.reconstruction["vanilla"].to_numpy() == pytest.approx(error, rel=1e-3)
    assert last.kl["vanilla"].to_numpy() == pytest.approx(kl, rel=0.01)


def test_controls_leave_too_and_so_does_sampling(last):
    assert ((last.excess["perturbed once 1%"] - 1).abs() < 0.01).all()
    for arm in ("vanilla, sampled", "plain decay, sampled"):
        assert (last.excess[arm] < 1.2).all()
        assert (last.active[arm] == 8).all()


def test_from_a_generic_start_all_agree():
    table = experiments.run("linear_vae", "quick-generic", steps=400)
    last = table[table.step == 400].groupby("arm").excess.mean()
    free = last.drop([arm for arm in last.index if "W-fix" in arm or "sampled" in arm])
    assert (free - 1).abs().max() < 0.02
