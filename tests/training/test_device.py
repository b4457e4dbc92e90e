"""Choosing a device, seeding everything."""

import pytest
import torch

import syre_helpers as sh


def test_devices(monkeypatch, capsys):
    assert sh.pick_device("cpu").type == "cpu"
    assert "cpu" in capsys.readouterr().err
    monkeypatch.setenv("SYRE_DEVICE", "cpu")
    assert sh.pick_device(quiet=True).type == "cpu"
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("SYRE_DEVICE", "abacus")
    with pytest.raises(ValueError, match=r"SYRE_DEVICE.*'abacus'"):
        sh.pick_device()
    with pytest.raises(ValueError, match=r"argument name.*'cuda:99'"):
        sh.pick_device("cuda:99")


def test_seed_everything():
    first, second = sh.seed_everything(7), sh.seed_everything(7)
    assert torch.equal(torch.rand(3, generator=first), torch.rand(3, generator=second))
    with pytest.raises(ValueError, match="seed=-1"):
        sh.seed_everything(-1)
