"""Mode connectivity: its measures against mathematics, what it must show, and resuming."""

import pandas as pd
import pytest
import torch
from torch import nn

from syre_helpers import arms, data, experiments, models
from syre_helpers.data import DataSplit
from syre_helpers.experiments import mode_connectivity as module
from syre_helpers.symmetry import permutation_reflection
from syre_helpers.training.checkpoint import Checkpoint


def state(model):
    return {n: p.detach().clone() for n, p in model.state_dict().items()}


def shuffled(model, seed=0):
    """Return the state of the same function with its units in another order."""
    generator = torch.Generator().manual_seed(seed)
    found = state(model)
    for layer in module.hidden_layers(model):
        order = torch.randperm(layer.width, generator=generator)
        for name, slab in {**layer.incoming, **layer.norm, **layer.outgoing}.items():
            blocks = found[name].movedim(slab.axis, 0).unflatten(0, (layer.width, slab.block))
            found[name] = blocks[order].flatten(0, 1).movedim(0, slab.axis)
    return found


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (models.mlp([6, 9, 4], "relu"), 6),
        (models.mlp([6, 12, 10, 4], "relu"), 6),
        (models.conv_net((3, 5)), 64),
    ],
)
def test_aligning_finds_the_order_again_and_changes_no_output(model, inputs):
    torch.manual_seed(0)
    x = torch.randn(7, inputs)
    model(x)  # running statistics that differ from unit to unit
    model.eval()
    original, moved = state(model), shuffled(model)
    layers = module.hidden_layers(model)
    call = torch.func.functional_call
    torch.testing.assert_close(call(model, moved, x), model(x))
    assert module.apart(model, original, moved) > 0.2
    found = module.align(layers, original, moved)
    assert module.apart(model, original, found) == 0
    for name, value in original.items():
        assert (found[name] == value).all(), name


def test_aligning_is_no_worse_than_any_order_of_three_units():
    import itertools

    torch.manual_seed(1)
    model, other = models.mlp([4, 3, 2], "relu"), models.mlp([4, 3, 2], "relu")
    (layer,) = module.hidden_layers(model)
    a, b = state(model), state(other)

    def ordered(order):
        order = list(order)
        return {
            "0.weight": b["0.weight"][order],
            "0.bias": b["0.bias"][order],
            "2.weight": b["2.weight"][:, order],
            "2.bias": b["2.bias"],
        }

    best = min(module.apart(model, a, ordered(o)) for o in itertools.permutations(range(3)))
    assert module.apart(model, a, module.align([layer], a, b)) == pytest.approx(best)


def test_apart():
    model = nn.Linear(2, 1, bias=False)
    a = {"weight": torch.tensor([[3.0, 4.0]])}
    for other, expected in (([3.0, 4.0], 0), ([-4.0, 3.0], 1), ([-3.0, -4.0], 2), ([0.0, 0.0], 1)):
        b = {"weight": torch.tensor([other])}
        assert module.apart(model, a, b) == pytest.approx(expected)


def test_statistics_are_those_of_the_state_and_of_all_images():
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    torch.manual_seed(0)
    x = torch.randn(400, 3)
    before = state(model)
    given = {n: 2 * p if p.is_floating_point() else p for n, p in before.items()}
    found = module.reset_statistics(model, x)(given)
    hidden = x @ given["0.weight"].T + given["0.bias"]
    torch.testing.assert_close(found["1.running_mean"], hidden.mean(0))
    torch.testing.assert_close(found["1.running_var"], hidden.var(0))
    for name, value in model.state_dict().items():
        assert (value == before[name]).all(), "the model is left alone"
    assert (found["0.weight"] == given["0.weight"]).all()
    assert module.reset_statistics(models.mlp([3, 4, 2]), x) is None


def test_both_networks_of_a_pair_have_the_same_bias_mask_and_third():
    config = module.Config(widths=(6,))
    params = dict(models.mlp([64, 6, 10], "relu").named_parameters())
    compared = {arm.name: arm for arm in module.compared_arms(config)}

    def centre(name, seed):
        return compared[name].pull(params, seed, 0).centre["0.weight"]

    for name in ("syre 0.01", "syre 1", "symmetric bias", "pull to a third"):
        assert (centre(name, 4) == centre(name, 5)).all(), name
        assert (centre(name, 4) != centre(name, 6)).any(), name
    assert (centre("syre 1, not shared", 4) != centre("syre 1, not shared", 5)).any()
    fixed = [compared["W-fix 50%"].pull(params, s, 0).mask["0.weight"] for s in (4, 5)]
    assert (fixed[0] == fixed[1]).all()
    zeros = {n: torch.zeros_like(p) for n, p in params.items()}
    first, second = (compared["W-fix 50%"].start(zeros, s)["0.weight"] for s in (4, 5))
    assert (first == second).all()
    first, second = (compared["same start"].start(params, s)["0.weight"] for s in (4, 5))
    assert (first == second).all()


def test_the_symmetric_bias_is_on_all_mirror_planes_and_as_long():
    config = module.Config(widths=(6, 5))
    model = models.mlp([64, 6, 5, 10], "relu")
    params = dict(model.named_parameters())
    compared = {arm.name: arm for arm in module.compared_arms(config)}
    bias = compared["symmetric bias"].pull(params, 2, 0).centre
    for layer, units in (("0", (1, 4)), ("2", (0, 3))):
        distance = permutation_reflection(model, layer, *units).distance(bias)
        assert float(distance) == pytest.approx(0, abs=1e-6)
    theta_0 = compared["syre 1"].pull(params, 2, 0).centre
    norms = [sum(p.double().square().sum() for p in c.values()).sqrt() for c in (bias, theta_0)]
    assert float(norms[0]) == pytest.approx(float(norms[1]), rel=1e-5)


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    module.compared_arms(module.PRESETS["batchnorm"])
    assert (torch.get_rng_state() == before).all()


@pytest.fixture(scope="module")
def quick():
    return experiments.run("mode_connectivity")


def ratio(table, arm, column="barrier"):
    last = table.set_index(["arm", "seed"])
    return last[column][arm] / last.barrier["plain decay"]


@pytest.mark.slow
def test_a_strong_shared_bias_lowers_the_barrier_in_every_pair(quick):
    assert quick.seed.nunique() >= 8
    assert (ratio(quick, "syre 1") < 0.5).all()
    assert (ratio(quick, "W-fix 50%") < 0.5).all()
    assert (ratio(quick, "pull to a third") < 0.75).all()


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["syre 0.01", "syre 1, not shared", "symmetric bias"])
def test_controls_leave_the_barrier(quick, arm):
    assert ratio(quick, arm).mean() > 0.8


@pytest.mark.slow
def test_the_barrier_of_decay_is_a_matter_of_order(quick):
    assert (ratio(quick, "plain decay", "aligned") < 0.25).all()
    accuracy = quick.groupby("arm").accuracy.mean()
    assert accuracy["syre 1"] > accuracy["plain decay"] - 0.01
    assert accuracy["vanilla"] > accuracy["plain decay"], "the price is the decay's"


@pytest.mark.slow
def test_claims_can_be_measured(quick):
    verdicts = {
        claim.text: claim.verdict(claim.values(quick))
        for claim in module.CLAIMS
        if claim.is_about("quick")
    }
    assert len(verdicts) >= 8
    assert set(verdicts.values()) <= {"reproduced", "partly"}


@pytest.mark.parametrize(
    ("ratios", "halved", "kept"),
    [
        ([0.2, 0.49], True, False),
        ([0.2, 0.51], None, False),
        ([0.7, 0.89], None, False),
        ([0.7, 0.95], False, True),
        ([1.5, 2.0], False, True),
    ],
)
def test_rules_test_what_the_claims_say(ratios, halved, kept):
    """Halved in every pair, in part where the mean is a fifth lower; kept where it is not."""
    rules = {"at least halves": halved, "lowers the barrier by less than a fifth": kept}
    told = 0
    for claim in module.CLAIMS:
        for words, expected in rules.items():
            if words in claim.text:
                told += 1
                assert claim.holds(pd.Series(ratios)) is expected, claim.text
                assert ("in every pair" in claim.text) == (words == "at least halves")
    assert told == 9


def tiny_images(n_train=None, n_test=None):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 3, 32, 32, generator=generator)
    y = torch.randint(10, (16,), generator=generator)
    return DataSplit(x[:12], y[:12], x[12:], y[12:])


def interrupt_after(monkeypatch, saves):
    real, count = Checkpoint.save, []

    def save(self, kept):
        real(self, kept)
        count.append(1)
        if len(count) == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", save)
    return real


def test_paper_preset_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "cifar10", tiny_images)
    config = experiments.configure(
        module, "paper", widths=(2,), steps=3, batch_size=4, seeds=1, points=3,
        sigma_ratios=(1.0,), fix_shares=(0.5,),
    )  # fmt: skip
    whole = module.run(config)
    real = interrupt_after(monkeypatch, saves=5)
    with pytest.raises(KeyboardInterrupt):
        module.run(config, tmp_path)
    monkeypatch.setattr(Checkpoint, "save", real)
    resumed = module.run(config, tmp_path)
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)
    assert not whole.isna().any(axis=None)


def test_quick_preset_resumes(tmp_path, monkeypatch):
    config = module.Config(widths=(4,), steps=20, seeds=1, points=3)
    whole = module.run(config)
    real = interrupt_after(monkeypatch, saves=3)
    with pytest.raises(KeyboardInterrupt):
        module.run(config, tmp_path)
    monkeypatch.setattr(Checkpoint, "save", real)
    resumed = module.run(config, tmp_path)
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)


def test_names_of_arms_do_not_clash():
    for config in module.PRESETS.values():
        names = [arm.name for arm in module.compared_arms(config)]
        assert len(set(names)) == len(names)
        assert {"syre 0.01", "syre 1", "W-fix 50%"} <= set(names)
    assert arms.vanilla().name in names
