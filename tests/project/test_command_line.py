"""``python -m syre_helpers`` lists, runs, records, and answers bad input in one line."""

import dataclasses
import subprocess
import sys

import pandas as pd
import pytest

from syre_helpers import experiments
from syre_helpers.__main__ import main
from syre_helpers.experiments import read_record

RUN = ["run", "dead_neurons", "--device", "cpu"]


@pytest.fixture
def dead_neurons(monkeypatch):
    """The experiment, with a quick preset that is over at once."""
    module = experiments.load("dead_neurons")
    quick = dataclasses.replace(module.PRESETS["quick"], steps=20, d=10, samples=20, seeds=2)
    monkeypatch.setitem(module.PRESETS, "quick", quick)
    return module


def test_list_and_doctor(capsys):
    assert main(["list"]) == 0
    assert "dead_neurons" in capsys.readouterr().out
    assert main(["doctor"]) == 0
    assert "torch: " in capsys.readouterr().out


@pytest.mark.usefixtures("dead_neurons")
def test_a_run_prints_and_records(tmp_path, capsys):
    out = tmp_path / "deep" / "run.csv"
    command = ["run", "dead-neurons", "--seeds", "3", "--device", "cpu", "--out", str(out)]
    assert main(command) == 0
    assert "plain decay" in capsys.readouterr().out
    read = read_record(out)
    assert set(read.table.columns) >= {"arm", "seed", "step", "test_loss", "dead"}
    assert read.provenance["config"]["seeds"] == 3
    assert read.provenance["experiment"] == "dead_neurons"
    assert {
        "device", "machine", "versions", "date", "seconds", "peak_memory_mb", "command",
    } <= set(read.provenance)  # fmt: skip
    assert sorted(p.name for p in out.parent.iterdir()) == ["run.csv", "run.json"]


def test_arms_of_one_label_are_not_averaged(dead_neurons, monkeypatch, capsys):
    """A table may hold words, and arms that differ in a setting which their label does not tell."""
    table = pd.DataFrame(
        {
            "arm": ["syre", "syre", "syre", "vanilla"],
            "method": ["syre", "syre", "syre", "vanilla"],
            "weight_decay": [0.1, 0.1, 0.2, None],
            "seed": [0, 1, 0, 0],
            "step": 3,
            "x": [1.0, 3.0, 7.0, 5.0],
            "where": "all",
        }
    )
    monkeypatch.setattr(dead_neurons, "run", lambda config, checkpoints: table)
    assert main(RUN) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["syre", "0.1", "2.0", "1.414214"] in lines
    assert ["0.2", "7.0", "NaN"] in lines
    assert ["vanilla", "NaN", "5.0", "NaN"] in lines


@pytest.mark.usefixtures("dead_neurons")
def test_a_grid_of_settings(tmp_path, capsys):
    out, kept = tmp_path / "grid.csv", tmp_path / "kept"
    command = [
        *RUN, "--jobs", "1", "--checkpoints", str(kept),
        *("--set", "weight_decay=0.002,0.02", "--set", "lr=0.01", "--set", "sigma_ratios=0.01,1"),
    ]  # fmt: skip
    assert main([*command, "--out", str(out)]) == 0
    assert "0.020" in capsys.readouterr().out
    record = read_record(out)
    assert record.table.groupby("weight_decay").seed.nunique().to_dict() == {0.002: 2, 0.02: 2}
    settings = record.provenance["config"]
    assert (settings["lr"], settings["sigma_ratios"]) == (0.01, [0.01, 1.0])
    assert record.provenance["grid"] == {"weight_decay": [0.002, 0.02]}
    assert record.provenance["jobs"] == 1
    assert record.provenance["peak_memory_mb"] > 50
    assert len(list(kept.glob("*.json"))) == 2 + 1, "a cell each, and the run's own file"
    # What was split otherwise would be other cells: refused rather than run beside them.
    assert main([*command, "--jobs", "2"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sigma_ratios=0.1,0.2", (0.1, 0.2)),
        ("sigma_ratios=0.1", (0.1,)),
        ("sigma_ratios=(0.1, 0.2)", (0.1, 0.2)),
        ("sigma_ratios=", ()),
        ("start=generic", "generic"),
        ("weight_decay=1", 1.0),
    ],
)
def test_values_are_read_as_the_setting_holds_them(dead_neurons, monkeypatch, given, expected):
    seen = []
    run = dead_neurons.run
    monkeypatch.setattr(
        dead_neurons, "run", lambda config, folder: seen.append(config) or run(config)
    )
    assert main([*RUN, "--set", given]) == 0
    value = getattr(seen[0], given.partition("=")[0])
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "0"], "--seeds=0"),
        (["--jobs", "0"], "--jobs=0"),
        (["--preset", "huge"], "there are quick"),
        (["--device", "abacus"], "--device: 'abacus' is no device"),
        (["--out", "run.txt"], "--out='run.txt' must end in .csv"),
        (["--out", "/dev/null/run.csv"], "--out='/dev/null/run.csv' cannot be written"),
        (["--checkpoints", "/dev/null"], "--checkpoints='/dev/null"),
        (["--set", "colour=red,blue"], "'colour' is no setting; there are"),
        (["--set", "steps=many"], "steps takes values like 20"),
        (["--set", "steps=0.5"], "steps takes values like 20"),
        (["--set", "d=True"], "d takes values like 10"),
        (["--set", "lr="], "lr takes values like 0.02"),
        (["--set", "sigma_ratios=a"], "sigma_ratios takes values like 0.001,0.01,0.1"),
        (["--set", "start=alive"], "start takes one of dead, generic"),
        (["--set", "seeds=3"], "--seeds"),
        (["--set", "device=cpu"], "--device"),
        (["--set", "lr=1", "--set", "lr=2"], "lr is set twice"),
    ],
)
def test_bad_input_is_answered_in_one_line_before_training(
    dead_neurons, monkeypatch, capsys, arguments, words
):
    monkeypatch.setattr(dead_neurons, "run", None)
    assert main([*RUN, *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    lines = [line for line in said.splitlines() if not line.startswith("device: ")]
    assert len(lines) == 1


def test_an_unknown_experiment_is_answered(capsys):
    assert main(["run", "nothing"]) == 2
    assert "'nothing' is no experiment; there are" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [True, False])
def test_after_an_interruption_it_says_how_to_go_on(
    dead_neurons, monkeypatch, tmp_path, capsys, kept
):
    def interrupt(config, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(dead_neurons, "run", interrupt)
    assert main([*RUN, *(["--checkpoints", str(tmp_path)] if kept else [])]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert "the same command goes on where it stopped" in last
    assert ("--checkpoints FOLDER" in last) != kept


def test_a_closed_pipe_ends_quietly():
    """The reader is gone before the first word, as behind ``| head -0``."""
    command = [sys.executable, "-m", "syre_helpers", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
