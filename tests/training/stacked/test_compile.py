"""Whether to compile: decided by what is known beforehand, and said in one line."""

import logging

import pytest
import torch

from syre_helpers.training.stacked import compile as compiling

SGD = torch.optim.SGD([torch.zeros(1)], lr=1)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("wanted", "steps", "elements", "there", "compiled", "words"),
    [
        (None, 3000, 10**5, True, False, "3000 steps would not repay it"),
        (None, 10**5, 10**5, True, True, "100000 steps repay it"),
        (None, 10**5, 10**5, False, False, "no C++ compiler found"),
        (None, 10**4, 10**6, True, True, "repay"),
        (True, 10, 10, True, True, "asked for"),
        (True, 10, 10, False, False, "no C++ compiler found"),
        (False, 10**6, 10**6, True, False, "asked for"),
    ],
)
def test_the_decision_follows_from_the_arguments(
    monkeypatch, wanted, steps, elements, there, compiled, words
):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: name if there else None)
    decision = compiling.decide(wanted, steps, elements, SGD, CPU)
    assert decision.compiled is compiled
    assert words in decision.reason


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.RMSprop(p, lr=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, maximize=True),
        lambda p: torch.optim.Adam(p, amsgrad=True),
    ],
)
def test_optimizers_without_a_compiled_form_are_named(monkeypatch, make):
    monkeypatch.setattr(compiling, "_missing", lambda device: None)
    optimizer = make([torch.zeros(1)])
    decision = compiling.decide(True, 10, 10, optimizer, CPU)
    assert not decision.compiled
    assert type(optimizer).__name__ in decision.reason


def test_short_runs_say_nothing_and_long_ones_one_line(monkeypatch, capsys, caplog):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    monkeypatch.setenv("SYRE_PROGRESS", "1")
    caplog.set_level(logging.INFO, "syre_helpers")
    compiling.decide(None, 1000, 1000, SGD, CPU).announce()
    assert capsys.readouterr().err == ""
    assert "would not repay" in caplog.text
    compiling.decide(None, 10**6, 1000, SGD, CPU).announce()
    said = capsys.readouterr().err
    assert said.startswith("training not compiled: no C++ compiler")
    assert said.count("\n") == 1
    monkeypatch.setenv("SYRE_PROGRESS", "0")
    compiling.decide(None, 10**6, 1000, SGD, CPU).announce()
    assert capsys.readouterr().err == ""
