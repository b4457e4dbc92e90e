"""The whole report: planted faults are counted, the model is left alone, bad input is answered."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import syre_helpers as sh
from small_faults import batch, conv, kill, lower_rank, make_twins, mlp, seeded

LOSS = functional.cross_entropy


def planted(dtype=torch.float32, activation=nn.Tanh):
    """Five copies and seven dead units in the first layer, rank 3 of 16 in the second."""
    model = mlp(activation, (20, 64, 16, 10), dtype)
    make_twins(model, [(0, 1, 2, 3), (30, 41, 55)])
    kill(model, range(10, 17))
    lower_rank(model[2], 3)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.GELU])
@pytest.mark.parametrize("with_loss", [True, False])
def test_what_is_planted_is_counted(dtype, activation, with_loss):
    model = planted(dtype, activation)
    x, y = batch(model, 256, outputs=10)
    how = {"batch": (x, y), "loss": LOSS} if with_loss else {"batch": x}
    report = sh.diagnose(model, **how)
    first, second = (report.table.loc[name] for name in ("0", "2"))
    assert (first.twins, first.dead, second.weight_rank) == (5, 7, 3)
    assert (second.twins, second.dead) == (0, 0)
    assert report.alarms["0"][0].startswith("7 of 64 units are dead")
    assert report.alarms["0"][1] == "5 units copy others exactly, in 2 groups"
    assert report.alarms["2"] == ["the weights have rank 3 of 16"]
    for number in ("7 of 64", "5 units", "rank 3 of 16"):
        assert number in str(report).replace("\n", " ")
    assert "kick once" in report.advice
    assert "a tenth of the weight decay" in report.advice


def test_features_of_low_rank_are_seen_where_the_weights_are_not():
    """A linear layer behind a layer of rank 3 has features of rank 3, whatever its own weights."""

    def make():
        return nn.Sequential(nn.Linear(8, 16), nn.Identity(), nn.Linear(16, 16), nn.Identity(),
                             nn.Linear(16, 10))  # fmt: skip

    model = seeded(make)
    lower_rank(model[0], 3)
    table = sh.diagnose(model, batch(model)[0]).table
    assert table.feature_rank_exact.tolist() == [3, 3]
    assert table.feature_rank_most.tolist() == [8, 3], "the second reads no more than 3"
    assert table.alarm.astype(bool).tolist() == [True, False]


def test_neural_collapse_is_no_alarm():
    """Features and weights of rank C - 1 are those of a well-trained classifier."""
    model = mlp(nn.Identity, (20, 16, 4))
    x, y = batch(model, 256, outputs=4)
    lower_rank(model[0], 3)
    assert not sh.diagnose(model, (x, y), loss=LOSS).alarms
    lower_rank(model[0], 2)
    assert sh.diagnose(model, (x, y), loss=LOSS).alarms
    # A regression needs as many directions as it has outputs, in its last layer.
    target = torch.zeros(256, 4, dtype=torch.float64)
    assert sh.diagnose(model, (x, target), loss=functional.mse_loss).alarms
    wide = mlp(nn.Identity, (20, 16, 4))
    lower_rank(wide[0], 4)
    assert not sh.diagnose(wide, (x, target), loss=functional.mse_loss).alarms
    lower_rank(wide[0], 3)
    assert sh.diagnose(wide, (x, target), loss=functional.mse_loss).alarms


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model = conv().train(training)
    x, y = batch(model, outputs=5)
    functional.cross_entropy(model(x), y).backward()
    before, gradients = (
        copy.deepcopy(model.state_dict()),
        [p.grad.clone() for p in model.parameters()],
    )
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    sh.diagnose(model, (x, y), loss=LOSS)
    assert torch.equal(torch.rand(1), expected)
    assert all(m.training == training for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def test_the_same_call_gives_the_same_report():
    model = planted()
    x, y = batch(model, 64, outputs=10)
    one, other = (sh.diagnose(model, (x, y), loss=LOSS, weight_decay=0.1) for _ in range(2))
    assert str(one) == str(other)
    assert one.table.equals(other.table)


# ---- under syre ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["attach", "computed", "parametrize"])
def test_syre_is_found_and_its_force_reported(form):
    model = mlp(nn.Tanh, (8, 12, 4), torch.float64)
    make_twins(model, [(0, 4)])
    syre = sh.Syre(0.5, sigma_ratio=0.3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if form == "parametrize":
        syre.parametrize(model)
    else:
        handle = syre.attach(optimizer, model, store=form == "attach")  # noqa: F841
    data = batch(model)
    report = sh.diagnose(model, data, loss=LOSS)
    swap = sh.permutation_reflection(mlp(), "0", 0, 4)
    theta_0 = {name: syre.bias(name, p) for name, p in sh.effective_parameters(model).items()}
    assert report.table.escape_force.iloc[0] == pytest.approx(0.5 * swap.distance(theta_0))
    assert "syre pushes the pair off its plane" in report.advice
    assert not any(what == "decay" for what, _ in report.left_out)


def test_another_models_syre_is_not_taken_for_this_ones():
    model, other = mlp(), mlp()
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    handle = sh.Syre(0.5, sigma_ratio=0.3).attach(optimizer, other)
    report = sh.diagnose(model, batch(model), loss=LOSS)
    assert math.isnan(report.table.escape_force.iloc[0])
    assert report.decay is None, "nor is its decay"
    handle.remove()


def test_of_several_heads_the_one_that_lost_rank_is_reported():
    """The second head of three, each of four units: the third of its values copies the second."""
    model = seeded(lambda: sh.models.gpt(16, 8, 12, 1, 3, 24))
    attention = next(one for one in model.modules() if hasattr(one, "query"))
    with torch.no_grad():
        attention.value.weight[6] = attention.value.weight[5]
        attention.out.weight[:, 6] = attention.out.weight[:, 5]
    tokens = torch.randint(16, (32, 8), generator=torch.Generator().manual_seed(0))
    ranks = [
        (one.weights.exact, one.weights.most)
        for one in sh.diagnose(model, tokens).findings
        if "rotation" in one.kinds
    ]
    # Of queries with keys, and of values with outputs.
    assert sorted(ranks) == [(3, 4), (4, 4)]


# ---- the pair and what parts it ------------------------------------------------------------------


def near_pair(pull, decay):
    """A report on two near units that the loss draws together (pull > 0) or drives apart."""
    model = mlp(nn.Tanh, (8, 12, 4))
    make_twins(model, [(0, 4)])
    with torch.no_grad():
        model[0].weight[4] += 0.02

    def loss(output, y):
        apart = (model[0].weight[0] - model[0].weight[4]).square().sum()
        return 0.0 * output.sum() + pull * apart / 4

    return sh.diagnose(model, batch(model), loss=loss, weight_decay=decay)


def test_a_pair_that_decay_draws_is_told_from_one_that_the_loss_draws():
    by_decay, by_loss, driven = near_pair(-0.5, 1.0), near_pair(2.0, 0.1), near_pair(-2.0, 0.1)
    assert by_decay.table.rate.iloc[0] == pytest.approx(0.5 - 1)
    assert "with weight_decay below 0.5" in by_decay.advice
    assert by_loss.table.rate.iloc[0] == pytest.approx(-2 - 0.1)
    assert "the loss itself draws the pair" in by_loss.advice
    assert not driven.alarms


def test_the_advised_sigma_ratio_keeps_the_pair_apart():
    """Where the loss draws a pair, the ratio that is advised holds it at the distance it says."""
    report = near_pair(0.05, 0.1)
    assert "Syre with sigma_ratio=0.1 would hold it at a distance of 0.12" in report.advice
    assert "sigma_ratio=0.3 would hold it" in near_pair(0.2, 0.1).advice
    weak = near_pair(100.0, 0.1)
    assert "Syre cannot help here" in weak.advice


# ---- what cannot be done -------------------------------------------------------------------------


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = planted()

    def forward(self, x):
        raise RuntimeError("no such kernel")


def test_a_model_that_cannot_run_is_judged_by_its_weights():
    model = planted()
    report = sh.diagnose(model, torch.ones(4, 7))  # the wrong width
    assert report.table.dead.tolist() == [7, 0, 0]
    assert report.table.twins.tolist() == [5, 0, 0]
    assert any(what == "the forward pass" for what, _ in report.left_out)
    assert "the forward pass" in str(report)


def test_a_loss_that_fails_costs_the_rates_only():
    model = planted()
    x, _ = batch(model, 256, outputs=10)
    report = sh.diagnose(model, (x, torch.full((256,), 99)), loss=LOSS)
    assert report.table.dead_by_function.tolist() == [7, 0]
    assert [what for what, _ in report.left_out] == ["the gradient"]


def test_a_frozen_model_has_no_rates():
    model = planted().requires_grad_(False)
    report = sh.diagnose(model, batch(model, 256, outputs=10), loss=LOSS)
    assert report.table.dead.tolist() == [7, 0, 0]
    assert ("the gradient", "no parameter requires one: the model is frozen") in report.left_out


@pytest.mark.parametrize("other", [mlp(widths=(8, 11, 4)), mlp(widths=(8, 12, 12, 4)), conv()])
def test_the_symmetries_of_another_model_are_refused(other):
    model = mlp(widths=(8, 12, 4))
    found = sh.find_reflections(other, batch(other)[0])
    with pytest.raises(ValueError, match="found is of another model"):
        sh.diagnose(model, batch(model)[0], found=found)


@pytest.mark.parametrize("form", ["parametrize", "weight_norm"])
def test_symmetries_found_before_or_after_the_form_of_the_weights_changed_are_taken(form):
    model = mlp(widths=(8, 12, 4))
    x = batch(model)[0]
    before = sh.find_reflections(model, x)
    if form == "parametrize":
        sh.Syre(0.1, sigma_ratio=0.1).parametrize(model)
        assert sh.diagnose(model, x, found=before).table.units.tolist() == [12]
    else:
        nn.utils.parametrizations.weight_norm(model[0])
    found = sh.find_reflections(model, x)
    assert sh.diagnose(model, x, found=found).table.units.tolist() == [12]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_parameters_that_are_not_finite_raise_an_alarm(wrong):
    model = planted()
    with torch.no_grad():
        model[2].bias[3] = wrong
    report = sh.diagnose(model, batch(model, 256, outputs=10), loss=LOSS)
    assert "NaN or infinite" in report.verdict
    assert math.isnan(report.table.nearest.loc["2"])
    assert "diverged" in report.advice


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    model = planted().to(dtype)
    report = sh.diagnose(model, batch(model, 256, outputs=10), loss=LOSS)
    assert report.table.dead.tolist() == [7, 0]
    assert report.table.twins.tolist() == [5, 0]
    assert report.table.weight_rank.isna().all(), "rounding hides what is exact"


class Tied(nn.Module):
    """An autoencoder whose decoder is its encoder, transposed: one parameter with two uses."""

    def __init__(self):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(16, 20) / 4), nn.Parameter(0.1 * torch.randn(16))

    def forward(self, x):
        return torch.tanh(x @ self.w.T + self.b) @ self.w


def test_shared_parameters():
    """One dead unit, one copy and one copy of opposite sign; each is counted once."""
    model = seeded(Tied, torch.float32)
    with torch.no_grad():
        for unit, sign in ((2, 1), (3, -1), (7, 0)):
            model.w[unit], model.b[unit] = sign * model.w[1], sign * model.b[1]
    x = torch.randn(256, 20, generator=torch.Generator().manual_seed(0))
    report = sh.diagnose(model, (x, x), loss=functional.mse_loss)
    table = report.table
    assert (table.dead.sum(), table.twins.sum(), table.opposite_twins.sum()) == (1, 2, 1)


def test_features_that_overflow_are_not_called_healthy():
    """Half precision in the middle of a model, say: what cannot be told is named."""
    model = mlp(nn.Identity, (20, 16, 4), torch.float32)
    with torch.no_grad():
        model[0].weight *= 1e30
    x = 1e30 * torch.ones(8, 20)
    report = sh.diagnose(model, x)
    assert ("features of 0", "they are NaN or infinite on this batch") in report.left_out
    assert math.isnan(report.table.feature_rank_exact.iloc[0])


def test_dropout_and_batchnorm_in_training_change_nothing():
    model = conv().train()
    x, y = batch(model, outputs=5)
    running = model[1].running_mean.clone()
    one, other = (sh.diagnose(model, (x, y), loss=LOSS) for _ in range(2))
    assert torch.equal(model[1].running_mean, running)
    assert one.table.equals(other.table)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: sh.diagnose(None, torch.ones(3, 20)), TypeError, "model must be an nn.Module"),
        (lambda m: sh.diagnose(m, torch.ones(0, 20)), ValueError, "batch is empty"),
        (lambda m: sh.diagnose(m, torch.full((3, 20), math.nan)), ValueError, "batch has NaN"),
        (lambda m: sh.diagnose(m, "digits"), TypeError, "batch is a str"),
        (lambda m: sh.diagnose(m, None), TypeError, "batch is a NoneType"),
        (lambda m: sh.diagnose(m, torch.ones(3, 20), loss=LOSS), ValueError, "a pair"),
        (lambda m: sh.diagnose(m, (torch.ones(3, 20),), loss="mse"), TypeError, "loss='mse'"),
        (lambda m: sh.diagnose(m, torch.ones(3, 20), weight_decay=-1), ValueError, "weight_decay"),
        (lambda m: sh.diagnose(m, torch.ones(3, 20), weight_decay=math.nan), ValueError, "weight"),
    ],
)
def test_bad_input_is_answered(call, error, words):
    with pytest.raises(error, match=words):
        call(planted())


# ---- the report ----------------------------------------------------------------------------------


def test_a_healthy_model_needs_nothing():
    model = mlp(nn.Tanh, (20, 32, 10), torch.float32)
    report = sh.diagnose(model, batch(model, 256, outputs=10), loss=LOSS, weight_decay=1e-4)
    assert report.alarms == {}
    assert report.verdict == "No sign of collapse in 32 units of 1 class."
    assert report.advice.startswith("Nothing here asks for a remedy")
    assert report.left_out == []


def test_the_report_in_a_notebook():
    model = planted()
    report = sh.diagnose(model, batch(model, 256, outputs=10), loss=LOSS)
    shown = report._repr_html_()
    assert shown.count("<img") == 1
    assert "7 of 64 units are dead" in shown
    assert "pass weight_decay=" in shown, "what was left out"
    picture = report.plot()
    assert "7 of 64 units dead, 5 exact twins" in picture.alt
    assert repr(report) == str(report)


def test_the_text_explains_its_columns_and_takes_no_more_room_than_it_needs():
    """Each printed column is explained, empty ones are not printed, and reasons are said once."""
    from dataclasses import replace

    model = planted()
    report = sh.diagnose(model, batch(model, 256, outputs=10)[0])
    text = str(report)
    head = next(line for line in text.splitlines() if line.strip().startswith("units"))
    assert "attracting" not in head.split(), "without a loss it is not known"
    assert all(f"\n- {name}: " in text for name in head.split())
    assert max(len(line) for line in text.splitlines() if not line.startswith(head[:9])) <= 120
    frozen = [(f"layer {n}", "frozen") for n in range(40)]
    assert "layer 0, layer 1, layer 2, layer 3 and 36 more: frozen" in str(
        replace(report, left_out=frozen)
    ).replace("\n  ", " ")


def test_a_report_of_many_classes_is_cut_with_a_word():
    from dataclasses import replace

    model = planted()
    report = sh.diagnose(model, batch(model, 256, outputs=10), loss=LOSS)
    ill, well = report.findings[0], replace(report.findings[1], weights=report.findings[0].weights)
    well = replace(well, features=type(well.features)())
    many = [replace(well, name=f"w{n}") for n in range(60)]
    many += [replace(ill, name=f"ill {n}") for n in range(20)]
    long = replace(report, findings=many)
    text = str(long)
    assert len(long.alarms) == 20
    assert "Collapse in 20 of 80 classes." in text
    assert "And 8 more: see report.alarms." in text
    assert "40 more rows are in report.table." in text
    assert all(f"\nill {n} " in text for n in range(20)), "rows with an alarm come first"
    assert "40 more rows" in long._repr_html_()


def test_decay_that_draws_alone_is_said_to():
    report = near_pair(0.0, 1.0)
    assert "decay alone draws the pair" in report.advice
    assert "-0" not in report.advice


def test_words_of_a_model_are_escaped():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            raise RuntimeError("<b>no</b>")

    from syre_helpers.diagnosis import Report

    report = Report([], left_out=[("<b>", "<i>")])
    assert "<b>" not in report._repr_html_()
    with pytest.raises(ValueError, match="no class"):
        report.plot()
