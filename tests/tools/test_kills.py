"""Trainings that are killed resume to the same bits; the program tells of those that do not."""

import pandas as pd
import pytest
import torch

import flawed_runs
from tools.kills import kill
from tools.kills.runs import RUNS

SAMPLE = ("fit, dropout", "train_many, two at a time")


def test_a_sample_resumes_to_the_last_bit(capsys):
    chosen = {name: RUNS[name] for name in SAMPLE}
    assert kill.main(["--times", "4", "--jobs", "1"], chosen) == 0
    first, second, summary = capsys.readouterr().out.splitlines()
    assert "2 kills" in first
    assert "last bit: yes" in first
    assert "2 kills" in second
    assert "last bit: yes" in second
    assert summary.startswith("4 kills; 2 of 2 trainings equal")


def test_a_training_that_resumes_is_sound():
    report = kill.kill_often("sound", flawed_runs.sound, 3, seed=0)
    assert report.sound
    assert report.kills == 3
    assert report.ended > 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("forgetful", "NO (since)"),
        ("littering", "NO (left behind: scratch.txt)"),
        ("failing", "NO (it fails after a kill)"),
    ],
)
def test_a_training_that_does_not_resume_is_reported(name, words, capfd):
    runs = {name: getattr(flawed_runs, name)}
    assert kill.main(["--times", "2", "--jobs", "1"], runs) == 1
    out, _ = capfd.readouterr()
    assert words in out
    assert "0 of 1 trainings" in out


def test_a_checksum_sees_one_bit():
    value = torch.tensor([0.1, float("nan"), 0.0])
    other = value.clone()
    other[2] = -0.0
    table = pd.DataFrame({"arm": ["a", None], "loss": [0.1, float("nan")]})
    assert kill.digests({"x": value}) == kill.digests({"x": value.clone()})
    assert kill.digests({"x": value}) != kill.digests({"x": other})
    assert kill.digests({"x": value}) != kill.digests({"x": value.double()})
    assert kill.digests(table) == kill.digests(table.copy())
    assert kill.digests(table) != kill.digests(table.assign(arm=["a", "b"]))


def test_a_name_that_is_nowhere_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        kill.main(["--only", "nothing"])
    assert "fit, SGD" in capsys.readouterr().err
