"""The alarms over healthy trainings and over trainings that collapse; settings fixed here.

Five networks on digits. Healthy: without decay, and with 0.001. Collapsing: with 0.2, at which the
features of the last hidden layer keep less than half of the effective rank that they have without.
"""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

import syre_helpers as sh
from syre_helpers import arms

NETWORKS = {
    "tanh": (nn.Tanh, [64, 64, 10]),
    "relu": (nn.ReLU, [64, 64, 10]),
    "gelu": (nn.GELU, [64, 64, 10]),
    "deep tanh": (nn.Tanh, [64, 64, 64, 10]),
    "deep relu": (nn.ReLU, [64, 64, 64, 10]),
}
ARMS = [arms.vanilla(), arms.plain_decay(1e-3), arms.plain_decay(0.2)]
COLLAPSING = ARMS[-1]


def network(name):
    activation, widths = NETWORKS[name]
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def reports(name, steps, seeds):
    """Train all arms and seeds as one; return the report of each."""
    data = sh.data.digits()
    _, params = sh.train_many(
        lambda: network(name),
        (data.x_train, data.y_train),
        ARMS,
        seeds,
        steps=steps,
        loss=functional.cross_entropy,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
        batch_size=64,
        compile=False,
    )
    symmetries = sh.find_reflections(network(name), data.x_train[:2])
    found = {}
    for (arm, seed), state in params.items():
        model = network(name)
        model.load_state_dict(state)
        found[arm, seed] = sh.diagnose(
            model,
            (data.x_train, data.y_train),
            loss=functional.cross_entropy,
            weight_decay=getattr(arm, "weight_decay", 0.0),
            found=symmetries,
        )
    return found


def check(name, steps, seeds, gates=False):
    """Compare the alarms with what the trainings are, by a measure that no rule looks at."""
    found = reports(name, steps, seeds)
    for (arm, seed), report in found.items():
        usual = found[ARMS[0], seed].table.effective_rank.iloc[-1]
        collapsed = report.table.effective_rank.iloc[-1] < usual / 2
        assert collapsed == (arm == COLLAPSING), "the setting does what it is here for"
        said = [line for lines in report.alarms.values() for line in lines]
        if gates and not collapsed:
            said = [line for line in said if "units are dead" not in line or "plane" in line]
        assert bool(said) == collapsed, f"{name}, {arm.label}, seed {seed}:\n{report}"


@pytest.mark.parametrize("name", NETWORKS)
def test_no_false_alarm_and_none_missed(name):
    """20 healthy trainings and 10 that collapse, over the five networks."""
    check(name, 400, range(2))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_no_false_alarm_and_none_missed_over_more(name):
    """Twice as long and eight seeds: 80 healthy trainings and 40 that collapse.

    With ReLU some of the healthy ones, by their ranks, do lose more than 5% of their units to
    closed gates at this learning rate (4 and 5 of 64 were seen). That alarm is true, and passes.
    """
    check(name, 800, range(100, 108), gates=True)
