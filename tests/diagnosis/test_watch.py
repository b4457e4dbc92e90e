"""The callback: it looks, it warns before ranks move, and it is silent where nothing is wrong."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

import syre_helpers as sh
from small_faults import batch, kill, mlp
from syre_helpers import arms
from syre_helpers.diagnosis import Watch


def task(samples=256):
    """Five classes by a teacher."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 16, generator=generator)
    hidden = torch.tanh(x @ torch.randn(16, 32, generator=generator) / 2)
    return x, (hidden @ torch.randn(32, 5, generator=generator)).argmax(1)


def watched(weight_decay, steps=400, every=10, lr=0.02):
    """Train, and return the warnings and the watch."""
    model, data = mlp(nn.Tanh, (16, 32, 5), torch.float32), task()
    watch = Watch(
        model, data, loss=functional.cross_entropy, weight_decay=weight_decay, every=every
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sh.fit(
            model, data, arms.plain_decay(weight_decay), steps=steps, loss=functional.cross_entropy,
            optimizer=lambda p: torch.optim.SGD(p, lr=lr, momentum=0.9), callbacks=[watch],
        )  # fmt: skip
    return [str(one.message) for one in caught], watch


def test_it_warns_before_ranks_move():
    said, watch = watched(0.1)
    early = [words for words in said if "units will become twins" in words]
    assert len(early) == 1, said
    step = int(early[0].split("step ")[1].split(":")[0])
    ranks = watch.table.set_index("step").effective_rank
    assert ranks[step] > 0.9 * ranks[0], "when it warned"
    assert ranks.iloc[-1] < 0.5 * ranks[0], "what came of it"


@pytest.mark.parametrize("weight_decay", [0.0, 1e-3])
def test_it_is_silent_where_nothing_is_wrong(weight_decay):
    said, watch = watched(weight_decay)
    assert said == []
    assert watch.table.step.tolist() == list(range(0, 400, 10))


def test_it_looks_at_every_model_of_a_stack():
    data = task()
    made = mlp(nn.Tanh, (16, 12, 5), torch.float32)
    watch = Watch(made, data[0], every=10)
    start = {name: p.clone() for name, p in made.named_parameters()}
    _, params = sh.train_many(
        lambda: mlp(nn.Tanh, (16, 12, 5), torch.float32), data,
        [arms.vanilla(), arms.plain_decay(0.1)], range(2), steps=21, loss=functional.cross_entropy,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1), callbacks=[watch], compile=False,
    )  # fmt: skip
    table = watch.table
    assert table.groupby("run").step.apply(list).tolist() == [[0, 10, 20]] * 4
    assert table[table.step == 20].effective_rank.nunique() > 1, "each run is its own"
    assert all(torch.equal(p, start[name]) for name, p in made.named_parameters())
    assert len(params) == 4


def test_in_a_loop_of_ones_own_it_warns_of_an_alarm_once():
    model = mlp(nn.ReLU, (8, 12, 4))
    kill(model, [1, 2])
    watch = Watch(model, batch(model)[0], every=5)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(11):
            watch(step)
    assert [one.category for one in caught] == [sh.SyreWarning]
    assert str(caught[0].message).startswith("step 0: in 0, 2 of 12 units are dead")
    assert [step for step, _, _ in watch.reports] == [0, 5, 10]


@pytest.mark.parametrize(("steps", "interval"), [(200, 10), (2000, 50), (10**6, 100), (None, 100)])
def test_in_a_short_run_it_looks_more_often(steps, interval):
    """A collapse can be over within a hundred steps."""
    watch = Watch(mlp(), batch(mlp())[0], steps=steps)
    for step in range(2 * interval + 1):
        watch(step)
    assert [step for step, _, _ in watch.reports] == [0, interval, 2 * interval]


def test_gathered_gradients_groups_and_a_scaler_change_nothing_of_it():
    """In a loop of one's own, with all that such loops have, it warns as in `fit`."""
    model, (x, y) = mlp(nn.Tanh, (16, 32, 5), torch.float32), task()
    weights, biases = (
        [p for p in model.parameters() if (p.ndim > 1) == two] for two in (True, False)
    )
    optimizer = torch.optim.SGD(
        [{"params": weights, "weight_decay": 0.1}, {"params": biases}], lr=0.02, momentum=0.9
    )
    scaler = torch.amp.GradScaler("cpu")
    loss = functional.cross_entropy
    watch = Watch(model, (x, y), loss=loss, weight_decay=0.1, steps=400)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(60):
            watch(step)
            optimizer.zero_grad()
            for part in range(4):
                scaler.scale(loss(model(x[part::4]), y[part::4]) / 4).backward()
            scaler.step(optimizer)
            scaler.update()
    early = [str(one.message) for one in caught if "will become twins" in str(one.message)]
    assert len(early) == 1
    step, ranks = int(early[0].split()[1][:-1]), watch.table.set_index("step").effective_rank
    assert ranks[step] > 0.9 * ranks[0], "when it warned"
    assert ranks[50] < 0.9 * ranks[0], "what came of it"


def test_bad_arguments():
    with pytest.raises(ValueError, match="every"):
        Watch(mlp(), torch.ones(2, 8), every=0)
    with pytest.raises(TypeError, match="model"):
        Watch(None, torch.ones(2, 8))
    assert list(Watch(mlp(), torch.ones(2, 8)).table) == ["step", "run", "class"]
