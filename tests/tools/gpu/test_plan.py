"""The plan is whole and sized, its programs exist, and a rehearsal of some parts passes."""

import dataclasses
import json
import subprocess
import sys

import pytest

from syre_helpers import experiments
from tools.gpu import __main__, estimate, pack, plan, record, report
from tools.gpu.plan import ROOT, Part
from tools.gpu.recordings import RECORDINGS


def test_the_plan_is_in_order_and_its_seconds_are_within_its_limits(capsys):
    parts = plan.parts()
    assert [p.name.partition(" ")[0] for p in parts] == [
        "smoke", "tests", *["speed"] * 4, *["record"] * len(RECORDINGS), "tests",
    ]  # fmt: skip
    records = [p for p in parts if p.name.startswith("record")]
    assert records == sorted(records, key=lambda p: p.seconds), "shortest first"
    assert all(p.needed <= p.seconds < p.limit for p in parts)
    before = sum(p.seconds for p in parts[:6])
    first, second = records[:2]
    assert before + first.seconds + second.needed < 9 * 60, "two recordings are begun"
    assert next(p for p in parts if p.name == "smoke").seconds < 60
    assert __main__.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(p.name in listed for p in parts)


def test_operations_are_those_of_the_literature():
    # 0.56e9 multiplications forwards (He et al. count those of ImageNet's larger images); the
    # backward pass costs twice as many but for the first layer.
    assert estimate.per_sample("resnet", 64) == pytest.approx(6 * 0.556e9, rel=0.02)
    narrow = estimate.per_sample("resnet", 16)
    assert 0.9 < estimate.per_sample("resnet", 32) / (4 * narrow) < 1.1
    tokens, dim, depth = 64, 128, 6
    weights = depth * (4 * dim**2 + 2 * 256 * dim)
    attention = depth * 2 * tokens * dim
    wanted = 6 * tokens * (weights + attention)
    assert estimate.per_sample("vit", dim, depth) == pytest.approx(wanted, rel=0.03)
    # A GPT reads out at each place; what a place may not see is computed, too.
    tokens, dim, depth = 256, 384, 6
    weights = depth * (4 * dim**2 + 2 * 4 * dim**2) + 256 * dim
    wanted = 6 * tokens * (weights + depth * 2 * tokens * dim)
    assert estimate.per_sample("gpt", dim, depth, tokens) == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("one", RECORDINGS, ids=lambda one: one.name)
def test_a_recording_is_a_preset_whose_seeds_are_shared_out(one):
    config = experiments.configure(experiments.load(one.experiment), one.preset)
    assert [s for group in one.groups for s in group] == list(range(config.seeds))
    assert config.data in ("cifar10_jpeg", "standard_library"), "what can be carried, or is there"
    assert {f.name for f in dataclasses.fields(config)} >= set(one.small)


@pytest.mark.parametrize("part", [p for p in plan.parts() if p.name.startswith("speed")])
def test_the_benchmarks_have_a_brief_form(part):
    path = str(ROOT / part.command[0])
    done = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--brief" in done.stdout


def test_names_that_are_nowhere_and_no_time_are_refused(capsys):
    for arguments, words in (
        (["--only", "nothing"], "record compatibility-cuda"),
        (["--minutes", "0"], "--minutes 0.0"),
        (["--minutes", "nan"], "--minutes nan"),
    ):
        with pytest.raises(SystemExit, match="2"):
            __main__.main(arguments)
        assert words in capsys.readouterr().err


REHEARSED = ("smoke", "graphs", "record supervised", "compatibility-cuda-small")


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """The folder of a rehearsal, and what it imported."""
    out = tmp_path_factory.mktemp("rehearsal")
    return out, pack.imported_in_a_rehearsal(REHEARSED, out)


@pytest.mark.slow  # five processes that import torch
def test_a_rehearsal_passes_and_records_its_seeds(rehearsed):
    out, _ = rehearsed
    status = json.loads((out / "status.json").read_text())
    logs = {n: (out / "logs" / f"{n.replace(' ', '-')}.txt").read_text()[-2000:] for n in status}
    assert {n: e["state"] for n, e in status.items()} == dict.fromkeys(status, "done"), logs
    assert len(status) == len(REHEARSED)
    said = (out / "summary.md").read_text()
    assert "failed" not in said
    for one in (r for r in RECORDINGS if (out / f"{r.name}.csv").exists()):
        table, facts = experiments.read_record(out / f"{one.name}.csv").__dict__.values()
        # What is rehearsed: one seed of each of the first two groups.
        seeds = [group[0] for group in one.groups[:2]]
        assert facts["config"]["seeds"] == len(seeds)
        assert seeds == sorted(table.seed.unique())
        assert facts["speed"] == dataclasses.asdict(one.speed)
        assert f"{one.name}: {len(seeds)} seeds" in said


@pytest.mark.slow
def test_a_rehearsal_imports_what_the_packing_list_names(rehearsed):
    _, imported = rehearsed
    assert set(imported) - set(pack.IMPORTED) == set()


def test_a_recording_goes_on_with_the_seeds_that_are_missing(tmp_path, monkeypatch):
    one = dataclasses.replace(RECORDINGS[-1], groups=((0,), (1,)), speed=RECORDINGS[0].speed)
    asked = []
    true = record.one

    def fails_at_first(recording, group, *rest):
        asked.append(group)
        if asked == [(0,), (1,)]:
            raise KeyboardInterrupt
        true(recording, group, *rest)

    monkeypatch.setattr(record, "one", fails_at_first)
    with pytest.raises(KeyboardInterrupt):
        record.every(one, "cpu", tmp_path)
    whole = tmp_path / f"{one.name}.csv"
    assert experiments.read_record(whole).provenance["config"]["seeds"] == 1
    assert record.every(one, "cpu", tmp_path) == 0
    assert asked == [(0,), (1,), (1,)]
    found = experiments.read_record(whole)
    assert found.provenance["config"]["seeds"] == 2
    assert sorted(found.table.seed.unique()) == [0, 1]
    assert found.provenance["device"].startswith("cpu")
    # What was recorded with other settings is not mixed in.
    other = dataclasses.replace(one, small=one.small | {"lr": 0.01})
    assert record.every(other, "cpu", tmp_path) == 1


def test_the_report_counts_tests_of_a_run_that_was_cut_off(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "tests.txt").write_text(
        "tests/test_on_a_gpu.py::test_a[x-1] PASSED  [ 5%]\n"
        "tests/test_on_a_gpu.py::test_b FAILED [ 10%]\ntests/test_on_a_gpu.py::test_c "
    )
    said = report.summary({"tests": {"state": "cut off", "estimated": 9.0}}, tmp_path)
    assert "- tests: 1 passed, 1 failed" in said
    assert "test_b failed" in said


def test_a_part_is_begun_where_its_least_is_left():
    assert Part("a", "", (), 9.0, 20.0).needed == 9
    assert Part("a", "", (), 9.0, 20.0, least=3.0).needed == 3
