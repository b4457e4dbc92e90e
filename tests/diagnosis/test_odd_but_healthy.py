"""Healthy networks that look odd: no alarm, or a sentence that is true."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

import syre_helpers as sh
from small_faults import batch, conv, make_twins, mlp, seeded

LOSS = functional.cross_entropy


def healthy(model, data, loss=LOSS, **how):
    report = sh.diagnose(model, data, loss=loss, **how)
    assert report.alarms == {}, str(report)
    return report


def labels(samples=256, classes=2):
    return torch.arange(samples) % classes


def values(samples, width):
    return torch.randn(samples, width, generator=torch.Generator().manual_seed(2))


class Gated(nn.Module):
    """A residual branch that is shut at the start, as by adaLN-Zero, or whose gain is 0."""

    def __init__(self, zero_gate):
        super().__init__()
        self.enter, self.leave = nn.Linear(20, 32), nn.Linear(32, 20)
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)
        self.gate, self.zero_gate = nn.Linear(20, 32), zero_gate
        nn.init.zeros_(self.gate.weight if zero_gate else self.down.weight)
        nn.init.zeros_(self.gate.bias if zero_gate else self.down.bias)

    def forward(self, x):
        h = self.enter(x)
        gate = self.gate(x) if self.zero_gate else 1.0
        return self.leave(h + gate * self.down(functional.gelu(self.up(h))))


@pytest.mark.parametrize("zero_gate", [True, False])
def test_a_branch_that_begins_at_zero(zero_gate):
    """The stream has the rank of the input then, and not the one that the branch could give."""
    model, x = seeded(lambda: Gated(zero_gate), torch.float32), values(256, 20)
    healthy(model, (x, x.flip(1)), functional.mse_loss)
    with torch.no_grad():
        u, s, v = torch.linalg.svd(model.enter.weight, full_matrices=False)
        model.enter.weight.copy_(u[:, :3] * s[:3] @ v[:3])
    assert sh.diagnose(model, (x, x.flip(1)), loss=functional.mse_loss).alarms


def test_samples_that_are_repeated_lend_no_rank():
    """Four different samples have features of rank 3, whatever the weights."""
    model = mlp(nn.Tanh, (20, 64, 32, 10), torch.float32)
    x = values(4, 20).repeat(64, 1)
    healthy(model, (x, torch.zeros(256, 10)), functional.mse_loss)
    x = values(256, 20)
    make_rank_three(model)
    assert sh.diagnose(model, (x, torch.zeros(256, 10)), loss=functional.mse_loss).alarms


@torch.no_grad()
def make_rank_three(model):
    model[0].weight.copy_(values(64, 3) @ values(20, 3).T)


def test_inputs_without_rank_lend_none():
    model = mlp(nn.Identity, (20, 32, 20), torch.float32)
    x = values(256, 20)
    x[:, 10:] = 0.5
    table = healthy(model, (x, x), functional.mse_loss).table
    assert table.feature_rank_exact.iloc[0] == table.feature_rank_most.iloc[0] == 10


def test_few_tokens_lend_few_directions():
    class Items(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.read = nn.Embedding(100, 24), nn.Linear(24, 1)

        def forward(self, ids):
            return self.read(self.words(ids))

    ids = torch.arange(256) % 7
    model = seeded(Items, torch.float32)
    table = healthy(model, (ids, torch.ones(256, 1)), functional.mse_loss).table
    assert table.feature_rank_exact.iloc[0] == 6


@pytest.mark.parametrize("batches", [0, 3, 12])
def test_statistics_of_batchnorm_that_are_still_those_of_the_start(batches):
    """By them, the channels of a new ResNet would be shut on all images."""
    model = seeded(lambda: sh.models.resnet18(5, width=8), torch.float32)
    x = values(64, 3 * 64).view(64, 3, 8, 8)
    for _ in range(batches):
        model(x)
    report = sh.diagnose(model, (x, labels(64, 5)), loss=LOSS)
    assert not [said for said in report.alarms.values() if "dead" in str(said)]


@pytest.mark.parametrize("all_of_them", [True, False])
def test_gains_that_begin_at_zero(all_of_them):
    model = conv()
    with torch.no_grad():
        model[1].weight[slice(None) if all_of_them else slice(3)] = 0
    found = sh.diagnose(model, batch(model, 1)[0])  # one image: by weights alone
    assert found.table.dead.iloc[0] == (0 if all_of_them else 3)


def test_a_pruned_layer_is_judged_with_its_mask():
    model = mlp(nn.ReLU, (20, 64, 10), torch.float32)
    x, y = batch(model, 256, outputs=10)
    prune.l1_unstructured(model[0], "weight", 0.5)
    report = healthy(model, (x, y))
    assert not [name for name in report.table.index if "mask" in name]
    prune.ln_structured(model[0], "weight", 0.25, 2, 0)
    report = sh.diagnose(model, (x, y), loss=LOSS)
    assert report.table.dead.sum() == 16


def test_a_compiled_model_runs_as_it_is_written():
    model = mlp(nn.Tanh, (20, 16, 10), torch.float32)
    make_twins(model, [(0, 1)])
    count = []

    def backend(graph, inputs):
        count.append(1)
        return graph.forward

    compiled = torch.compile(model, backend=backend)
    x, y = batch(model, 64, outputs=10)
    assert sh.diagnose(compiled, (x, y), loss=LOSS).table.twins.iloc[0] == 1
    assert count == [], "hooks would have compiled it anew"


def test_a_model_of_several_outputs_says_that_their_units_are_held():
    class Vae(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = nn.Linear(20, 16), nn.Linear(4, 20)
            self.mu, self.log_var = nn.Linear(16, 4), nn.Linear(16, 4)

        def forward(self, x):
            h = torch.tanh(self.hidden(x))
            mu, log_var = self.mu(h), self.log_var(h)
            return self.out(mu), mu, log_var

    def loss(output, x):
        return (
            functional.mse_loss(output[0], x) + output[1].square().mean() + output[2].exp().mean()
        )

    model, x = seeded(Vae, torch.float32), values(256, 20)
    with torch.no_grad():
        for layer in (model.mu, model.log_var):
            layer.weight[1:3], layer.bias[1:3] = 0, 0
        model.out.weight[:, 1:3] = 0
    report = sh.diagnose(model, (x, x), loss=loss)
    assert any("outputs=" in why for _, why in report.left_out)

    def seen(output):
        return output[0], output[1].square().sum(1) + output[2].exp().sum(1)

    found = sh.find_reflections(model, x[:4], outputs=seen)
    report = sh.diagnose(model, (x, x), loss=loss, found=found)
    assert report.table.dead.loc["mu"] == 2, "latents that have collapsed"
    assert not any("outputs=" in why for _, why in report.left_out)


def test_what_cannot_be_judged_is_not_called_healthy():
    class Nothing(nn.Module):
        def forward(self, x):
            return x

    report = sh.diagnose(Nothing(), values(8, 3))
    assert "Nothing could be judged" in report.verdict
    assert "Nothing could be judged" in report.advice


def test_weight_norm_can_be_diagnosed():
    model = mlp(nn.Tanh, (20, 64, 10), torch.float32)
    make_twins(model, [(0, 1, 2)])
    nn.utils.parametrizations.weight_norm(model[0])
    with torch.no_grad():
        model[0].parametrizations.weight.original0[7:12] = 0
        model[0].bias[7:12], model[2].weight[:, 7:12] = 0, 0
    x = values(256, 20)
    table = sh.diagnose(model, (x, labels(256, 10)), loss=LOSS).table
    assert (table.twins.iloc[0], table.dead.iloc[0]) == (2, 5)
