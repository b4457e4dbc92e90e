"""The benchmark programs run, write what they say, and the pages show what was recorded.

Nothing here asserts a time.
"""

import csv
import dataclasses
import importlib.util
import json
import subprocess
import sys

import nbformat
import pytest
import torch

import chapters

PROGRAMS = chapters.ROOT / "benchmarks"
PROGRAM = PROGRAMS / "step_cost.py"
BYTES = {"attach": 4, "attach + D": 8, "parametrize": 4, "penalty": 4}


def imported(name):
    spec = importlib.util.spec_from_file_location(name, PROGRAMS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def step_cost():
    yield imported("step_cost")
    del sys.modules["step_cost"]


@pytest.fixture(scope="module")
def network_cost(step_cost):
    yield imported("network_cost")
    del sys.modules["network_cost"]


def complete(step_cost, rows):
    """Check that every form of every optimizer is there, with the bytes that it holds."""
    steps = {(r.optimizer, r.form): r for r in rows if r.what == "step"}
    assert list(steps) == [(o, f) for o in step_cost.OPTIMIZERS for f in step_cost.FORMS]
    for (_, form), row in steps.items():
        assert row.bytes_per_parameter == pytest.approx(BYTES.get(form, 0), abs=0.05)
    assert [r.form for r in rows if r.what == "start"] == ["torch.randn", "theta_0", "D"]
    for row in rows:
        assert row.ms_low <= row.ms <= row.ms_high
        assert row.ratio_low <= row.ratio <= row.ratio_high
        assert row.rounds >= 3


def test_quick_run_prints_a_table_and_writes_both_files(step_cost, tmp_path):
    done = subprocess.run(
        [sys.executable, PROGRAM, "--quick", "--seconds", "0.5", "--out", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {f.name for f in tmp_path.iterdir()} == {"step_cost.csv", "step_cost.json"}
    rows, source = step_cost.read(tmp_path)
    complete(step_cost, rows)
    assert step_cost.table(rows) in done.stdout
    assert source["preset"] == "quick"
    assert source["settings"]["threads"] == 1
    assert set(source) >= {"command", "date", "machine", "seconds", "settings", "versions"}


def test_an_unknown_device_is_named():
    done = subprocess.run(
        [sys.executable, PROGRAM, "--quick", "--device", "abacus"], capture_output=True, text=True
    )
    assert done.returncode
    assert "'abacus' is no device" in done.stderr


def test_what_is_written_can_be_read_and_an_interrupted_run_spoils_nothing(
    step_cost, tmp_path, monkeypatch
):
    row = step_cost.Row("step", "SGD", "attach", 2.0, 1.5, 2.5, 1.1, 1.0, 1.2, 4.0, 7)
    start = dataclasses.replace(row, what="start", optimizer="", bytes_per_parameter=None)
    step_cost.write(tmp_path, [row, start], {"date": "2026-01-02"})
    assert step_cost.read(tmp_path) == ([row, start], {"date": "2026-01-02"})
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(step_cost.os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        step_cost.write(tmp_path, [start], {"date": "2027-01-02"})
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_the_page_shows_the_recorded_table(step_cost):
    rows, source = step_cost.read(chapters.ROOT / "results")
    complete(step_cost, rows)
    assert source["preset"] == "full"
    assert source["command"] == "python benchmarks/step_cost.py"
    settings = json.loads(json.dumps(dataclasses.asdict(step_cost.Settings())))
    assert settings.items() <= source["settings"].items(), "the program has changed: record again"
    page = nbformat.read(chapters.BOOK / "remedy" / "what-it-costs.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    assert step_cost.table(rows) in text
    for fact in (source["date"], source["machine"]["cpu"], source["versions"]["torch"]):
        assert fact in text


# ---- three networks --------------------------------------------------------------------------


def complete_networks(network_cost, rows):
    """Check that every form of every network is there, and that memory grows as it must."""
    of = {(r.network, r.form): r for r in rows}
    assert list(of) == [(n, f) for n in network_cost.NETWORKS for f in network_cost.FORMS]
    for (_, form), row in of.items():
        assert row.ratio_low <= row.ratio <= row.ratio_high
        assert row.rounds >= 3
        if form.startswith(network_cost.BASELINE):
            assert row.memory == pytest.approx(1, abs=1e-3)
        else:
            assert row.memory > 1.001
    for name in network_cost.NETWORKS:
        once, twice = of[name, "attach"].memory - 1, of[name, "attach + D"].memory - 1
        assert twice == pytest.approx(2 * once, rel=0.05), "one array, two arrays"


def test_quick_run_of_three_networks_prints_a_table_and_writes_both_files(network_cost, tmp_path):
    done = subprocess.run(
        [sys.executable, PROGRAMS / "network_cost.py", "--quick", "--out", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {f.name for f in tmp_path.iterdir()} == {"network_cost.csv", "network_cost.json"}
    rows, source = network_cost.read(tmp_path)
    complete_networks(network_cost, rows)
    assert network_cost.table(rows) in done.stdout
    assert source["experiment"] == "network_cost"
    assert source["command"].startswith("python benchmarks/network_cost.py --quick")
    assert set(source) >= {"command", "date", "machine", "seconds", "settings", "versions"}


def test_what_a_forward_pass_keeps_is_counted_once(network_cost):
    """A layer keeps its input, which exists already; the loss keeps what goes into it."""
    settings = dataclasses.replace(network_cost.QUICK, widths=(50, 30, 10), mlp_batch=20)
    training = network_cost.set_up("MLP", network_cost.BASELINE, settings)
    training.step()
    # The hidden layer's output, once though a ReLU and a layer keep it, and the ten log
    # probabilities; float32. What the loss notes about its classes is a few bytes more.
    kept = network_cost.kept_bytes(training)
    assert 4 * 20 * (30 + 10) <= kept <= 4 * 20 * (30 + 10) + 100


def test_the_full_run_has_the_networks_that_it_says(network_cost):
    models = {n: network_cost.network(n, network_cost.Settings()) for n in network_cost.NETWORKS}
    sizes = {
        name: sum(p.numel() for p in model.parameters()) for name, (model, _) in models.items()
    }
    assert sizes["MLP"] == 976_110
    assert 2.7e6 < sizes["ResNet-18"] < 2.9e6
    assert 0.7e6 < sizes["ViT"] < 0.9e6
    assert {len(x) for _, x in models.values()} == {128, 32}


def test_the_page_shows_the_recorded_networks(network_cost):
    rows, source = network_cost.read(chapters.ROOT / "results")
    complete_networks(network_cost, rows)
    assert source["preset"] == "full"
    assert source["command"] == "python benchmarks/network_cost.py"
    settings = json.loads(json.dumps(dataclasses.asdict(network_cost.Settings())))
    assert settings.items() <= source["settings"].items(), "the program has changed: record again"
    page = nbformat.read(chapters.BOOK / "remedy" / "what-it-costs.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    assert network_cost.table(rows) in text
    assert source["date"] in text


@pytest.fixture(scope="module")
def paper_presets():
    yield imported("paper_presets")
    del sys.modules["paper_presets"]


def test_presets_that_were_not_run_are_timed(paper_presets, tmp_path, monkeypatch):
    arguments = ["--seconds", "0.2", "--only", "dead_neurons:paper", "reinforcement:paper"]
    monkeypatch.setattr(sys, "argv", ["paper_presets.py", *arguments, "--out", str(tmp_path)])
    threads = torch.get_num_threads()
    try:
        assert paper_presets.main() == 0
    finally:
        torch.set_num_threads(threads)
    lines = (tmp_path / "not_run.csv").read_text().splitlines()
    rows = {row["experiment"]: row for row in csv.DictReader(lines)}
    dead = rows["dead_neurons"]
    assert (dead["trainings"], dead["steps"]) == ("1", "20000")
    assert float(dead["hours"]) == pytest.approx(
        float(dead["seconds_a_step"]) * 20_000 / 3600, abs=0.01
    )
    # Seven arms, eight seeds, ten phases of two million steps.
    assert int(rows["reinforcement"]["steps"]) == 7 * 8 * 10 * 976 * 2048
    assert json.loads((tmp_path / "not_run.json").read_text())["where"]


def test_trainings_are_counted_without_a_step(paper_presets):
    module = paper_presets.experiments.load("mode_connectivity")
    config = paper_presets.experiments.configure(module, "batchnorm", seeds=1)
    lengths = paper_presets.count(module, config)
    assert lengths == [config.steps] * (2 * len(module.compared_arms(config)))


@pytest.mark.parametrize(
    ("name", "preset", "changes"),
    [
        (
            "compatibility",
            "paper",
            {"width": 1, "n_train": 8, "batch": 4, "epochs": 3, "sigmas": (), "seeds": 1},
        ),
        (
            "mode_connectivity",
            "paper",
            {"widths": (1,), "batch_size": 4, "points": 3, "sigma_ratios": (1.0,), "seeds": 1},
        ),
        ("simclr", "paper", {"width": 1, "out": 2, "batch_size": 4, "seeds": 1}),
        ("supervised_collapse", "paper-vit", {"dim": 8, "depth": 1, "batch_size": 4, "seeds": 2}),
    ],
)
def test_computed_trainings_are_those_that_a_run_begins(paper_presets, name, preset, changes):
    module = paper_presets.experiments.load(name)
    config = paper_presets.experiments.configure(module, preset, data="cifar10", **changes)
    assert paper_presets.one_by_one(name, config)
    begun = paper_presets.count(module, config)
    assert paper_presets.computed(name, module, config) == begun
    assert len(begun) > 4


def test_presets_of_mlps_are_stacked(paper_presets):
    stacked = {"simclr": "mnist", "mode_connectivity": "mnist", "dead_neurons": "paper"}
    for name, preset in stacked.items():
        config = paper_presets.experiments.load(name).PRESETS[preset]
        assert not paper_presets.one_by_one(name, config)


def test_all_that_is_not_recorded_was_timed(paper_presets):
    with (paper_presets.RESULTS / "not_run.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    timed = {f"{row['experiment']}:{row['preset']}" for row in rows}
    assert set(paper_presets.unrecorded()) <= timed, "run benchmarks/paper_presets.py"
    for row in rows:
        name, preset = row["experiment"], row["preset"]
        module = paper_presets.experiments.load(name)
        config = module.PRESETS[preset]
        if paper_presets.one_by_one(name, config):
            lengths = paper_presets.computed(name, module, config)
            assert (len(lengths), sum(lengths)) == (int(row["trainings"]), int(row["steps"]))
        hours = float(row["seconds_a_step"]) * int(row["steps"]) / 3600
        assert float(row["hours"]) == pytest.approx(hours, rel=0.06, abs=0.01)
