"""Loss of plasticity: its parts against mathematics, and what the quick run must show."""

import pandas as pd
import pytest
import torch

from syre_helpers import data, experiments
from syre_helpers.experiments import _tasks as tasks
from syre_helpers.experiments import plasticity
from syre_helpers.models import mlp

RATES = (0.02, 0.05)  # fewer learning rates, so fewer comparisons to set up
SMALL = {"tasks": 3, "steps": 4, "width": 6, "layers": 2, "batch_size": 16, "seeds": 2}


def small(preset="quick", **changes):
    return experiments.configure(plasticity, preset, **(SMALL | changes))


def state(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_every_task_shuffles_the_pixels_anew():
    orders = [tasks.permutation(stream, task, 64) for stream in (0, 1) for task in range(5)]
    assert all(torch.equal(order.sort().values, torch.arange(64)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 10


def test_a_step_has_the_same_batch_whatever_came_before():
    config = small()
    forward, backward = plasticity.Stream(config), plasticity.Stream(config)
    batches = [forward(step) for step in range(12)]
    for step in reversed(range(12)):
        for a, b in zip(batches[step], backward(step), strict=True):
            assert torch.equal(a, b)
    # Training and test images of a task are shuffled alike, and labels stay with their images.
    split = data.digits()
    x, y = forward(11)
    original = torch.empty_like(x)
    original[:, forward.permutation] = x
    rows = (split.x_train[None] == original[:, None]).all(-1)
    assert rows.any(1).all()
    assert torch.equal(split.y_train[rows.int().argmax(1)], y)
    assert torch.equal(forward.x_test, split.x_test[:, forward.permutation])


def test_hidden_layers_are_those_of_the_model():
    torch.manual_seed(0)
    model = mlp([5, 4, 3, 2], "relu")
    x = torch.randn(7, 5)
    hidden = tasks.hidden_layers(state(model), x)
    assert len(hidden) == 2
    torch.testing.assert_close(hidden[0], model[:2](x))
    torch.testing.assert_close(hidden[1], model[:4](x))


def test_all_alike_is_the_nearest_symmetric_state():
    torch.manual_seed(0)
    params = state(mlp([5, 4, 3, 2], "relu").double())
    alike = tasks.all_alike(params)
    for first, second in (("0", "2"), ("2", "4")):
        for tensor in (
            alike[f"{first}.weight"],
            alike[f"{first}.bias"],
            alike[f"{second}.weight"].T,
        ):
            torch.testing.assert_close(tensor, tensor[:1].expand_as(tensor), rtol=0, atol=1e-15)
    again = tasks.all_alike(alike)
    product = sum(((params[n] - alike[n]) * alike[n]).sum() for n in params)
    assert abs(product) < 1e-12
    for name in params:
        torch.testing.assert_close(again[name], alike[name])


@pytest.mark.parametrize("preset", ["tuned", "tuned-adamw"])
def test_every_method_is_tuned_with_the_same_number_of_settings(preset):
    settings = plasticity.grid(plasticity.PRESETS[preset])
    methods = pd.Series([setting.arm.method for setting in settings])
    assert methods.value_counts().unique().tolist() == [8]
    assert len(set(settings)) == len(settings)


def test_the_tuning_picks_the_best_and_runs_it_on_fresh_seeds():
    table = experiments.run("plasticity", "tuned", **SMALL, tuning_seeds=2, vanilla_lrs=RATES)
    tried, final = (table[table.stage == stage] for stage in ("tuning", "final"))
    assert set(tried.seed) == {0, 1}
    assert set(final.seed) == {2, 3}
    config = small("tuned", tuning_seeds=2, vanilla_lrs=RATES)
    settings = plasticity.grid(config)
    for method in ("plain decay", "W-fix", "ReDo", "syre"):
        scores = {
            setting: experiments.rows_of(tried[tried.lr == setting.lr], setting.arm).score.mean()
            for setting in settings
            if setting.arm.method == method
        }
        assert len(scores) == 8
        row = final[final.method == method].iloc[0]
        (chosen,) = (
            setting
            for setting in scores
            if setting.lr == row.lr
            and all(row[k] == v for k, v in setting.arm.settings().items() if v not in (None, ""))
        )
        assert scores[chosen] == max(scores.values())
    for claim in plasticity.CLAIMS:
        assert len(claim.values(table)) == 2


def test_columns_of_a_run():
    table = experiments.run("plasticity", **SMALL | {"tasks": 7})
    one = table[(table.arm == "vanilla") & (table.seed == 1)]
    assert one.task.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert one.step.tolist() == [4 * k for k in range(1, 8)]
    assert one.score.iloc[-1] == pytest.approx(one.accuracy.iloc[2:].mean())
    assert one.retained_rank.iloc[-1] == pytest.approx(one["rank"].iloc[-1] / one["rank"].max())
    assert table.dead.between(0, 1).all()
    assert table["rank"].between(0, 6).all()


@pytest.mark.slow
def test_what_the_quick_run_shows_beside_its_claims(quick, end):
    score = end(quick("plasticity")).score
    mean = score.groupby("arm").mean()
    assert (score["syre 100%"] > score["plain decay"] + 0.1).all()
    assert mean["syre 100%"] > mean["vanilla"] + 0.1
    # The default is too weak here.
    assert mean["syre 1%"] < mean["syre 100%"] - 0.2
    # With a centre of the same size the pull to the start does what syre does.
    assert abs(mean["pull to start x1.73"] - mean["syre 100%"]) < 0.04
