"""The presets that were not run are timed, and their trainings counted."""

import sys

import pytest
import torch


def test_presets_that_were_not_run_are_timed(paper_presets, harness, tmp_path, monkeypatch):
    arguments = ["--seconds", "0.2", "--only", "dead_neurons:full-size", "reinforcement:paper"]
    monkeypatch.setattr(sys, "argv", ["paper_presets.py", *arguments, "--out", str(tmp_path)])
    threads = torch.get_num_threads()
    try:
        assert paper_presets.main() == 0
    finally:
        torch.set_num_threads(threads)
    (dead, ppo), facts = harness.read(tmp_path, "not_run")
    assert (dead["trainings"], dead["steps"]) == (1, 20_000)
    assert dead["hours"] == pytest.approx(dead["seconds_a_step"] * 20_000 / 3600, abs=0.01)
    # Seven arms, eight seeds, ten phases of two million steps.
    assert ppo["steps"] == 7 * 8 * 10 * 976 * 2048
    assert facts["where"]


def test_trainings_are_counted_without_a_step(paper_presets):
    module = paper_presets.experiments.load("mode_connectivity")
    config = paper_presets.experiments.configure(module, "batchnorm", seeds=1)
    lengths = paper_presets.count(module, config)
    assert lengths == [config.steps] * (2 * len(module.compared_arms(config)))


@pytest.mark.parametrize(
    ("name", "preset", "changes"),
    [
        ("compatibility", "full-size", {"width": 1, "n_train": 8, "epochs": 3, "sigmas": ()}),
        ("mode_connectivity", "full-size", {"widths": (1,), "points": 3, "sigma_ratios": (1.0,)}),
        ("simclr", "full-size", {"width": 1, "out": 2}),
        ("supervised_collapse", "vit", {"dim": 8, "depth": 1, "seeds": 2}),
    ],
)
def test_computed_trainings_are_those_that_a_run_begins(paper_presets, name, preset, changes):
    module = paper_presets.experiments.load(name)
    small = {"data": "cifar10", "batch_size": 4, "seeds": 1} | changes
    config = paper_presets.experiments.configure(module, preset, **small)
    assert paper_presets.one_by_one(module, config)
    begun = paper_presets.count(module, config)
    assert paper_presets.computed(name, module, config) == begun
    assert len(begun) > 4


def test_presets_of_mlps_are_stacked(paper_presets):
    stacked = {"simclr": "mnist", "mode_connectivity": "mnist", "dead_neurons": "full-size"}
    for name, preset in stacked.items():
        module = paper_presets.experiments.load(name)
        assert not paper_presets.one_by_one(module, module.PRESETS[preset])


def test_all_that_is_not_recorded_was_timed(paper_presets, harness):
    rows, _ = harness.read(paper_presets.RESULTS, "not_run")
    timed = {f"{row['experiment']}:{row['preset']}" for row in rows}
    assert set(paper_presets.unrecorded()) <= timed, "run benchmarks/paper_presets.py"
    for row in rows:
        name, preset = row["experiment"], row["preset"]
        module = paper_presets.experiments.load(name)
        config = module.PRESETS[preset]
        if paper_presets.one_by_one(module, config):
            lengths = paper_presets.computed(name, module, config)
            assert (len(lengths), sum(lengths)) == (row["trainings"], row["steps"])
        hours = row["seconds_a_step"] * row["steps"] / 3600
        assert row["hours"] == pytest.approx(hours, rel=0.06, abs=0.01)
