"""The page "paper against this book" says what the files in results/ say, and no more."""

import csv
import dataclasses

import pandas as pd
import pytest

from syre_helpers import experiments
from syre_helpers.experiments import Record
from syre_helpers.experiments import _rules as rules
from syre_helpers.experiments._claims import Claim, of, value
from tools.build import chapters, ledger

# The other tables are those of the benchmarks.
RECORDS = sorted(
    f for f in ledger.RESULTS.glob("*.csv") if f.stem.partition("-")[0] in experiments.names()
)


def claim(holds, presets=None):
    return Claim("A.", value(of(arm="syre"), "x"), "x", holds, "C.", "1", presets)


def run(*values, preset="quick"):
    table = pd.DataFrame({"arm": "syre", "seed": range(len(values)), "step": 5, "x": values})
    early = table.assign(step=0, x=-1.0)
    facts = {"config": {"seeds": len(values)}, "device": "cpu", "seconds": 6.0, "date": "a day"}
    return {preset: Record(pd.concat([early, table]), facts)}


def test_the_page_and_the_files_agree():
    assert ledger.PAGE.read_text() == ledger.page(), "run `make ledger`"


def test_every_experiment_is_on_the_page_and_has_a_quick_record():
    assert set(ledger.CHAPTERS) == set(experiments.names())
    for name, chapter in ledger.CHAPTERS.items():
        assert (chapters.BOOK / f"{chapter}.ipynb").exists()
        assert "quick" in ledger.records(name), f"record the quick preset of {name}"


@pytest.mark.parametrize("file", RECORDS, ids=lambda f: f.stem)
def test_records_were_made_with_the_settings_that_the_presets_still_have(file):
    record = experiments.read_record(file)
    name, preset = record.provenance["experiment"], record.provenance["preset"]
    assert file.stem == f"{name}-{preset}"
    now = dataclasses.asdict(experiments.load(name).PRESETS[preset])
    was = record.provenance["config"]
    now.pop("device")
    was.pop("device")
    now = {k: list(v) if isinstance(v, tuple) else v for k, v in now.items()}
    # What has been added since, and is empty, leaves a run as it was. Kappas came with W-fix's;
    # plasticity had one network.
    late = {"fix_kappas", "network", "channels"}
    since = {k for k, v in now.items() if k not in was and (v == [] or k in late)}
    assert was == {k: v for k, v in now.items() if k not in since}
    # A tuning has seeds of its own.
    table = record.table
    fresh = table[table.stage == "final"] if "stage" in table else table
    seeds = len(was["seeds"]) if isinstance(was["seeds"], list) else was["seeds"]
    assert fresh.seed.nunique() == seeds
    # Fewer seeds are no result, only the longest run of its kind that could be had.
    assert seeds >= 8 or preset == "ant-short"
    assert record.provenance["command"].startswith("python -m syre_helpers run")


def test_verdicts_come_from_the_numbers():
    rule = claim(rules.above(1, partly=0))
    for values, verdict in (
        ((1.5, 1.5), "reproduced"),
        ((0.5, 0.51), "partly"),
        ((-1, -1), "not"),
        ((1, 3), "not shown"),
    ):
        (found,) = ledger.judge(rule, run(*values))
        assert (found["preset"], found["verdict"]) == ("quick", verdict)
        assert found["here"].endswith("2 seeds")


def test_runs_that_differ_say_so_and_no_run_is_no_verdict():
    rule = claim(rules.above(1))
    both = run(2.0, 2.0) | run(0.0, 0.0, preset="paper")
    assert ledger.overall(ledger.judge(rule, both)) == "runs differ"
    assert ledger.overall(ledger.judge(rule, {})) == "not run"
    assert ledger.judge(claim(rules.above(1), presets=("quick-other",)), both) == []


def test_missing_numbers_are_no_result():
    with pytest.raises(ValueError, match="measures"):
        ledger.judge(claim(rules.above(1)), run(1.0, float("nan")))
    with pytest.raises(ValueError, match="must fit one arm"):
        ledger.judge(claim(rules.above(1)), {"quick": Record(pd.DataFrame(
            {"arm": ["vanilla"], "seed": [0], "step": [1], "x": [1.0]}), {})})  # fmt: skip


def test_no_run_is_called_the_papers():
    facts = {"data": {"name": "MNIST"}}
    names = {
        p: ledger.run_name(p, Record(pd.DataFrame(), facts)) for p in ("paper", "quick", "long")
    }
    assert names == {
        "paper": "our full-size run",
        "quick": "our quick run",
        "long": "our run `long`, MNIST",
    }


def test_what_was_not_run_says_how_much_of_it_was(tmp_path, monkeypatch):
    table = tmp_path / "not_run.csv"
    monkeypatch.setattr(ledger, "TIMED", table)
    assert ledger.effort("a", "paper") == ""
    table.write_text(
        "experiment,preset,steps,steps_timed,timed_on,hours\n"
        "a,paper,20000,5,paper,12.4\nb,paper,9000,700,short,0.031\n"
    )
    (tmp_path / "not_run.json").write_text('{"where": "an abacus"}')
    words = ledger.effort("a", "paper")
    assert words == ", about 12 hours on an abacus (begun for 5 of 20,000 steps, to time them)"
    words = ledger.effort("b", "paper")
    assert words == ", about 0.031 hours on an abacus (judged by `short`; none of it was run)"
    assert ledger.effort("a", "other") == ""


def test_a_run_on_a_gpu_is_a_row_of_its_own_with_its_device(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "RESULTS", tmp_path)
    monkeypatch.setattr(ledger, "ON_GPU", tmp_path / "cuda")
    for folder, preset, device in (("", "quick", "cpu"), ("cuda", "cuda", "A large GPU")):
        record = run(0.0, preset=preset)[preset]
        record.provenance["device"] = device
        experiments.write_record(record, tmp_path / folder / f"a-{preset}.csv")
    found = ledger.records("a")
    assert {p: r.provenance["device"] for p, r in found.items()} == {
        "quick": "cpu", "cuda": "A large GPU",
    }  # fmt: skip
    assert ledger.place("a", "quick") == "results/a-quick"
    assert ledger.place("a", "cuda") == "results/cuda/a-cuda"
    assert ledger.command("a", "cuda") == "python -m tools.gpu --only a-cuda"


def test_nothing_that_was_run_is_said_not_to_have_been_and_every_preset_named_is_there():
    for row in csv.DictReader(ledger.TIMED.read_text().splitlines()):
        assert row["preset"] in experiments.load(row["experiment"]).PRESETS
        assert not (ledger.RESULTS / f"{row['experiment']}-{row['preset']}.csv").exists(), row
