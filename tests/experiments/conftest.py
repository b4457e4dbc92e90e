"""What the tests of the experiments share: small settings, false images, interruptions, runs."""

import functools

import pandas as pd
import pytest
import torch

import syre_helpers as sh
from syre_helpers import experiments
from syre_helpers.training.checkpoint import Checkpoint

# A few steps of each experiment, on one and on several stacked seeds. "adam" amplifies rounding:
# where a gradient is next to zero, its sign is the step.
SMALL = {
    "beta_vae": {"steps": 12, "betas": (1.0,), "hidden": 8},
    "closed_gates": {"steps": 2, "blocks": 1, "pixels": 8, "n_test": 40},
    "compatibility": {
        "epochs": 1,
        "width": 4,
        "fix_shares": (),
        "sigmas": (0.1,),
        "shifted_sigmas": (),
        "added_sigmas": (),
    },
    "dead_neurons": {"steps": 40, "d": 10, "samples": 30},
    "growing": {"small": 3, "small_steps": 10, "steps": 10, "shrink_steps": 10, "new_steps": 10},
    "identical_units": {"steps": 20},
    "linear_vae": {"steps": 20},
    "mode_connectivity": {"steps": 20, "widths": (6,), "points": 3},
    "persistence": {"rows": 4, "rank": 1, "lengths": (20,), "kick_every": 15},
    "plasticity": {"tasks": 2, "steps": 10, "layers": 1, "width": 8},
    "reinforcement": {"phases": 1, "rollouts": 2, "checkpoint_every": 2, "pull_to_start": False},
    "simclr": {"steps": 12, "hidden": (16,), "ablation": False, "sigma_ratios": (0.1,)},
    "symmetry_degree": {
        "d": 8,
        "steps": 20,
        "decays": (0.1,),
        "rates": (0.1,),
        "sigmas": (0.1,),
        "pulls": (0.1,),
    },
    "transformers": {
        "steps": 12,
        "warm_up": 2,
        "dim": 8,
        "context": 8,
        "batch_size": 4,
        "n_test": 8,
        "cuts": (1,),
    },
    "supervised_collapse": {"steps": 20, "hidden": (12,), "decays": (0.1,), "rank_samples": 40},
}


@pytest.fixture(scope="session")
def small():
    """Return the function `small(name, preset, **changes)`: settings for a run of a second."""

    def small(name="dead_neurons", preset="quick", **changes):
        return experiments.configure(
            experiments.load(name), preset, **(SMALL[name] | {"seeds": 2} | changes)
        )

    return small


@pytest.fixture(scope="session")
def quick():
    """Return the function `quick(name)`: the table of a whole quick run, made once."""
    return functools.cache(experiments.run)


@pytest.fixture
def false_images(monkeypatch):
    """Put small sets of random images in the place of those that would have to be fetched."""

    def fake(*shape):
        def load(n_train=None, n_test=None):
            generator = torch.Generator().manual_seed(0)
            sizes = [min(n or 130, 130) for n in (n_train, n_test)]
            x_train, x_test = (3 * torch.rand(n, *shape, generator=generator) - 0.5 for n in sizes)
            y_train, y_test = (torch.arange(n) % 10 for n in sizes)
            return sh.data.DataSplit(x_train, y_train, x_test, y_test)

        return load

    for name in ("mnist", "fashion_mnist"):
        monkeypatch.setattr(sh.data, name, fake(784))
    for name in ("cifar10", "cifar10_jpeg", "cifar100"):
        monkeypatch.setattr(sh.data, name, fake(3, 32, 32))


@pytest.fixture
def saves(monkeypatch):
    """Return the list of all states written since; one may ask for an end: `saves.stop = 3`."""

    class Saves(list):
        stop = None

    written = Saves()
    save = Checkpoint.save

    def save_and_stop(self, state):
        save(self, state)
        written.append(state["step"])
        if len(written) == written.stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", save_and_stop)
    return written


@pytest.fixture(scope="session")
def end():
    """Return the function `end(table)`: the rows of the last step, by arm (its label) and seed."""

    def end(table):
        return table[table.step == table.step.max()].set_index(["arm", "seed"]).sort_index()

    return end


KEYS = ("beta", "weight_decay", "spectrum", "first")


@pytest.fixture(scope="session")
def no_op():
    """Return the function `no_op(table)`: the table of a run in which syre is plain decay."""

    def no_op(table):
        plain = table.method == "plain decay"
        varied = "variant" in table and "from the planes" in set(table.variant)
        if "variant" in table and not varied:
            plain &= table.variant.fillna("") == ""
        first = list(table).index("step") + 1
        keys = [k for k in KEYS if k in table and table[k].nunique() > 1]
        keys += ["variant"] if varied else []
        measured = [c for c in table.columns[first:] if c not in ("variant", *keys)]
        keys += ["seed", "step"]
        syre = table.method.isin(["syre", "syre + D"])
        as_decay = table[syre].drop(columns=measured)
        as_decay = as_decay.merge(table.loc[plain, keys + measured], on=keys)
        assert len(as_decay) == syre.sum()
        return pd.concat([table[~syre], as_decay], ignore_index=True)

    return no_op
