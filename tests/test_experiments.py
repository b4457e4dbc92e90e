"""Experiments: presets, records, the command line, and what each quick run must show."""

import dataclasses
import json

import pandas as pd
import pytest

from syre_helpers import experiments
from syre_helpers.__main__ import main
from syre_helpers.experiments import record


@pytest.mark.parametrize("name", experiments.names())
def test_every_experiment_is_complete(name):
    module = experiments.load(name)
    assert {"quick", "paper"} <= set(module.PRESETS)
    for config in module.PRESETS.values():
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.seeds = 3
    assert module.PRESETS["quick"].seeds >= 8
    assert module.CLAIMS
    assert len({claim.text for claim in module.CLAIMS}) == len(module.CLAIMS)


def last(table):
    return table[table.step == table.step.max()].set_index(["arm", "seed"])


@pytest.fixture(scope="module")
def from_dead():
    return last(experiments.run("dead_neurons"))


def test_syre_revives_dead_coordinates_in_every_seed(from_dead):
    assert (from_dead.dead["syre 0.01"] == 0).all()
    for arm in ("vanilla", "plain decay", "D only"):
        assert (from_dead.dead[arm] == 0.5).all(), arm
    ratio = from_dead.test_loss["plain decay"] / from_dead.test_loss["syre 0.01"]
    assert ratio.min() > 100


def test_freezing_weights_revives_only_those_it_meets(from_dead):
    # A dead pair stays dead unless one of its two weights is frozen at a random value.
    assert from_dead.dead["W-fix 10%"].mean() > 0.3
    for share in (0.1, 0.3, 0.5):
        expected = 0.5 * (1 - share) ** 2
        assert from_dead.dead[f"W-fix {share:.0%}"].mean() == pytest.approx(expected, abs=0.05)


def test_true_shrinkage_is_left_alone():
    """From a generic start under strong decay syre keeps what an L1 penalty would kill."""
    table = last(experiments.run("dead_neurons", "quick-generic", seeds=8))
    errors = table.test_loss.groupby("arm").mean()
    assert errors["syre 0.01"] == pytest.approx(errors["plain decay"], rel=0.05)


def test_the_claims_measure_what_they_say(from_dead):
    table = from_dead.reset_index()
    module = experiments.load("dead_neurons")
    claims = [c for c in module.CLAIMS if c.is_about("quick")]
    assert [c.verdict(c.values(table)) for c in claims] == ["reproduced"] * 4
    # The same claims about a run in which syre does what plain decay does.
    decay = table[table.arm == "plain decay"]
    fake = pd.concat([table[table.arm != "syre 0.01"], decay.assign(arm="syre 0.01")])
    verdicts = [c.verdict(c.values(fake)) for c in claims]
    assert verdicts == ["reproduced", "not", "not", "reproduced"]
    with pytest.raises(ValueError, match="measures"):
        claims[0].values(table.assign(dead=float("nan")))


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


def test_results_repeat():
    runs = [experiments.run("dead_neurons", steps=40, seeds=2) for _ in range(2)]
    pd.testing.assert_frame_equal(*runs, check_exact=True)


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
