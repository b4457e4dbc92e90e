"""Experiments: presets, records, the command line, and what each quick run must show."""

import dataclasses
import json

import pandas as pd
import pytest

from syre_helpers import experiments
from syre_helpers.__main__ import main
from syre_helpers.experiments import record


def test_a_killed_run_goes_on(tmp_path, interrupted_at):
    """The paper's preset on a short schedule: interrupted, run again, compared with one go."""
    module = experiments.load("dead_neurons")
    config = experiments.configure(module, "paper", steps=60, d=20, samples=50, seeds=2)
    whole = module.run(config)
    steps = interrupted_at(32)
    with pytest.raises(KeyboardInterrupt):
        record.run_recorded("dead_neurons", "paper", config, module.run, tmp_path)
    resumed = record.run_recorded("dead_neurons", "paper", config, module.run, tmp_path)
    assert len(steps) - 32 == 60 - 30
    pd.testing.assert_frame_equal(whole, resumed.table, check_exact=True)
    other = dataclasses.replace(config, lr=0.5)
    with pytest.raises(ValueError, match="other settings"):
        record.run_recorded("dead_neurons", "paper", other, module.run, tmp_path)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: experiments.load("nothing"), "dead_neurons"),
        (lambda: experiments.run("dead-neurons", "huge"), "quick"),
        (lambda: experiments.run("dead_neurons", colour="red"), "'colour'"),
    ],
)
def test_wrong_names_are_answered(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_command_line_lists_and_runs(tmp_path, capsys, monkeypatch):
    assert main(["list"]) == 0
    assert "dead_neurons" in capsys.readouterr().out
    module = experiments.load("dead_neurons")
    monkeypatch.setitem(module.PRESETS, "quick", module.Config(steps=20))
    out = tmp_path / "deep" / "run.csv"
    assert main(["run", "dead-neurons", "--seeds", "2", "--device", "cpu", "--out", str(out)]) == 0
    assert "plain decay" in capsys.readouterr().out
    read = record.read_record(out)
    assert set(read.table.columns) >= {"arm", "seed", "step", "test_loss", "dead"}
    assert read.provenance["config"]["seeds"] == 2
    assert read.provenance["experiment"] == "dead_neurons"
    assert {"device", "versions", "date", "seconds", "peak_memory_mb", "command"} <= set(
        read.provenance
    )
    assert sorted(p.name for p in out.parent.iterdir()) == ["run.csv", "run.json"]


def test_a_table_may_hold_words(capsys, monkeypatch, tmp_path):
    module = experiments.load("dead_neurons")
    table = pd.DataFrame(
        {"arm": "syre", "seed": [0, 1], "step": 3, "x": [1.0, 3.0], "where": "all"}
    )
    monkeypatch.setattr(module, "run", lambda config, checkpoints: table)
    assert main(["run", "dead_neurons", "--device", "cpu", "--out", str(tmp_path / "a.csv")]) == 0
    assert "2.0" in capsys.readouterr().out
    assert (record.read_record(tmp_path / "a.csv").table["where"] == "all").all()


def test_command_line_answers_bad_input(tmp_path, capsys):
    bad = [
        ["run", "nothing"],
        ["run", "dead_neurons", "--preset", "huge"],
        ["run", "dead_neurons", "--seeds", "0"],
        ["run", "dead_neurons", "--device", "abacus"],
        ["run", "dead_neurons", "--out", str(tmp_path / "run.txt")],
    ]
    for arguments in bad:
        assert main(arguments) == 2
        message = capsys.readouterr().err
        assert "Traceback" not in message
        assert arguments[-1] in message
    assert list(tmp_path.iterdir()) == []


def test_records_hold_no_place_of_this_machine():
    given = "run a --out x/y.csv --preset quick --checkpoints=z --seeds 3 --checkpoints z/w"
    assert record._command(given.split()) == "python -m syre_helpers run a --preset quick --seeds 3"


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out


def test_a_table_without_provenance_is_no_record(tmp_path):
    (tmp_path / "run.csv").write_text("arm\n")
    with pytest.raises(FileNotFoundError):
        record.read_record(tmp_path / "run.csv")
    result = record.Record(pd.DataFrame({"x": [1.5]}), {"a": 1})
    with pytest.raises(ValueError, match=r"\.csv"):
        record.write_record(result, tmp_path / "run")
    record.write_record(result, tmp_path / "run.csv")
    assert json.loads((tmp_path / "run.json").read_text()) == {"a": 1}
