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


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_hidden_layers_are_those_of_the_model(network, normed):
    torch.manual_seed(0)
    model = tasks.make_network(small(network=network, channels=(3, 4)), normed)
    x = torch.randn(7, 64)
    hidden = tasks.hidden_layers(model, state(model), x)
    places = [k for k, module in enumerate(model) if isinstance(module, torch.nn.ReLU)]
    assert len(hidden) == len(places) == (2 if network == "mlp" else 3)
    for outputs, place in zip(hidden, places, strict=True):
        torch.testing.assert_close(outputs, model[: place + 1](x))
    assert model(x).shape == (7, 10)
    norms = [m for m in model if isinstance(m, torch.nn.LayerNorm | torch.nn.GroupNorm)]
    assert len(norms) == normed * len(places)


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_units_that_are_made_anew_are_found_in_the_network(network):
    config = small(network=network, channels=(3, 4))
    stream = tasks.Stream(config)
    torch.manual_seed(0)
    params = state(tasks.make_network(config))
    outputs = stream.activations(params, 3)
    weights = [name for name in params if name.endswith("weight")]
    assert [first for first, _ in outputs] == [w.removesuffix(".weight") for w in weights[:-1]]
    for (layer, following), output in outputs.items():
        assert output.shape[:2] == (16, len(params[f"{layer}.weight"]))
        # Where a unit's output were larger, only the layer that reads it would see that.
        assert params[f"{following}.weight"][0].numel() % output.shape[1] == 0
    x, _ = stream(2)
    torch.testing.assert_close(
        next(iter(outputs.values())),
        torch.func.functional_call(
            tasks.make_network(config)[: 3 if network == "cnn" else 2],
            {n: p for n, p in params.items() if n == weights[0] or n == weights[0][:-6] + "bias"},
            (x,),
        ),
    )


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
    groups = pd.Series([setting.group for setting in settings])
    assert groups.value_counts().unique().tolist() == [8]
    assert groups.nunique() == 11
    assert len(set(settings)) == len(settings)


def test_the_tuning_picks_the_best_and_runs_it_on_fresh_seeds():
    table = experiments.run("plasticity", "tuned", **SMALL, tuning_seeds=2, vanilla_lrs=RATES)
    tried, final = (table[table.stage == stage] for stage in ("tuning", "final"))
    assert set(tried.seed) == {0, 1}
    assert set(final.seed) == {2, 3}
    config = small("tuned", tuning_seeds=2, vanilla_lrs=RATES)
    settings = plasticity.grid(config)
    for group in ("plain decay", "W-fix", "ReDo", "LayerNorm", "syre, default"):
        scores = {
            setting: experiments.rows_of(tried[tried.lr == setting.lr], setting.arm).score.mean()
            for setting in settings
            if setting.group == group
        }
        assert len(scores) == 8
        own = final[final.method == group] if group in set(final.method) else final
        row = (own if group in set(final.method) else own[own.sigma_ratio == 0.01]).iloc[0]
        (chosen,) = (
            setting
            for setting in scores
            if setting.lr == row.lr
            and all(row[k] == v for k, v in setting.arm.settings().items() if v not in (None, ""))
        )
        assert scores[chosen] == max(scores.values())
    for claim in plasticity.CLAIMS:
        assert len(claim.values(table)) == 2


def test_each_seed_has_tasks_and_batches_of_its_own():
    """What one seed shows does not depend on the others; two seeds share the images only."""
    both = experiments.run("plasticity", **SMALL)
    alone = experiments.run("plasticity", **SMALL | {"seeds": (1,)})
    again = both[both.seed == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, alone, rtol=1e-5)
    first, second = (tasks.Stream(small(), number) for number in (0, 1))
    assert not torch.equal(first.permutation, second.permutation)


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
