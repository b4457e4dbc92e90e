"""Checkpoints without their models, and ``python -m syre_helpers doctor``."""

import pickle
import sys

import pytest
import torch
from torch import nn

import syre_helpers as sh
from small_faults import batch, conv, kill, lower_rank, make_twins, mlp
from syre_helpers.__main__ import main
from syre_helpers.diagnosis import diagnose_checkpoint, diagnose_state, read_checkpoint


def planted():
    model = mlp(nn.Tanh, (20, 64, 16, 10), torch.float32)
    make_twins(model, [(0, 1, 2, 3), (30, 41, 55)])
    kill(model, range(10, 17))
    lower_rank(model[2], 3)
    return model


def test_weights_alone_tell_dead_rows_twins_and_ranks():
    report = diagnose_state(planted().state_dict())
    first, second = report.table.loc["0.weight"], report.table.loc["2.weight"]
    assert (first.twins, first.dead, second.weight_rank) == (5, 7, 3)
    assert report.alarms.keys() == {"0.weight", "2.weight"}
    assert {what for what, _ in report.left_out} == {
        "what the units do",
        "which units may change places",
    }


def test_a_norm_belongs_to_the_weight_before_it():
    model = conv()
    with torch.no_grad():
        model[1].bias[[2, 5]] = -7.0
        model[1].weight[4] = 1e-5
    table = diagnose_state(model.state_dict()).table
    assert table.roads.loc["0.weight"] == "2 closed gate, 1 norm gain"


def test_what_is_no_layer_is_passed_over_or_named():
    state = {
        "ids": torch.arange(12).view(3, 4),
        "scale": torch.tensor(2.0),
        "words.weight": torch.randn(7000, 4),
        "out.weight": torch.randn(5, 4),
    }
    report = diagnose_state(state)
    assert list(report.table.index) == ["out.weight"]
    assert any(what == "words.weight" and "7000 rows" in why for what, why in report.left_out)
    with pytest.raises(ValueError, match="no weight with two axes"):
        diagnose_state({"scale": torch.ones(3)})


@pytest.mark.parametrize(
    "pack",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "model": state, "optimizer": {"state": {0: torch.ones(9999)}}},
        lambda state: {"state_dict": state, "pytorch-lightning_version": "2"},
        lambda state: {"a": {"b": state}},
    ],
)
def test_the_state_of_a_model_is_found_in_what_was_saved(tmp_path, pack):
    state = planted().state_dict()
    torch.save(pack(state), tmp_path / "kept.pt")
    read = read_checkpoint(tmp_path / "kept.pt")
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], value) for name, value in state.items())


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    state = planted().state_dict()
    safetensors.save_file(state, tmp_path / "kept.safetensors")
    read = read_checkpoint(tmp_path / "kept.safetensors")
    assert all(torch.equal(read[name], value) for name, value in state.items())
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(ValueError, match="is no checkpoint"):
        read_checkpoint(tmp_path / "bad.safetensors")


class Runs:
    """What runs code when it is unpickled."""

    ran = False

    def __reduce__(self):
        return (setattr, (Runs, "ran", True))


BAD = {
    "text": b"epoch 3, loss 0.2\n",
    "nothing": b"",
    "noise": bytes(range(256)) * 8,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "a pickle that runs code": pickle.dumps(Runs()),
    "half an archive": b"PK\x03\x04" + bytes(40),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_no_checkpoint(tmp_path, capsys, kind):
    file = tmp_path / "kept.pt"
    file.write_bytes(BAD[kind])
    assert main(["doctor", str(file)]) == 2
    said = capsys.readouterr()
    assert "is no checkpoint" in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""
    assert not Runs.ran


def test_a_model_that_was_pickled_whole_is_refused(tmp_path, capsys):
    torch.save(planted(), tmp_path / "kept.pt")
    assert main(["doctor", str(tmp_path / "kept.pt")]) == 2
    assert "save model.state_dict()" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [[1, 2], {"loss": 0.2}, torch.ones(3)])
def test_a_file_without_named_tensors(tmp_path, kept):
    torch.save(kept, tmp_path / "kept.pt")
    with pytest.raises(ValueError, match="no named tensors"):
        read_checkpoint(tmp_path / "kept.pt")


def test_no_file(tmp_path, capsys):
    assert main(["doctor", str(tmp_path / "none.pt")]) == 2
    assert "none.pt" in capsys.readouterr().err


def test_doctor_prints_the_report(tmp_path, capsys):
    torch.save(planted().state_dict(), tmp_path / "kept.pt")
    assert main(["doctor", str(tmp_path / "kept.pt")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Diagnosis of the weights alone")
    assert "7 of 64 units are dead" in said
    assert "--model module:function --batch FILE" in said.replace("\n", " ")


@pytest.fixture
def factory(tmp_path, monkeypatch):
    """A module of a reader's own, in the folder from which the program is started."""
    (tmp_path / "own_nets.py").write_text(
        "import torch\n"
        "def make():\n"
        "    act = torch.nn.Tanh\n"
        "    lin = torch.nn.Linear\n"
        "    return torch.nn.Sequential(lin(20, 64), act(), lin(64, 16), act(), lin(16, 10))\n"
        "def other():\n"
        "    return torch.nn.Linear(3, 2)\n"
        "def nothing():\n"
        "    return None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = planted()
    torch.save(model.state_dict(), tmp_path / "kept.pt")
    x, y = batch(model, 256, outputs=10)
    torch.save(x, tmp_path / "x.pt")
    torch.save((x, y), tmp_path / "xy.pt")
    yield tmp_path
    sys.modules.pop("own_nets", None)


def test_doctor_runs_the_model_that_it_is_given(factory, capsys):
    command = ["doctor", str(factory / "kept.pt"), "--model", "own_nets:make"]
    assert main([*command, "--batch", str(factory / "x.pt")]) == 0
    alone = capsys.readouterr().out
    assert alone.startswith("Diagnosis of the model")
    assert "pass loss=" in alone
    batched = ["--batch", str(factory / "xy.pt"), "--loss", "cross_entropy"]
    assert main([*command, *batched, "--weight-decay", "0.1"]) == 0
    assert "Left out" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "own_nets:make"], "--model needs --batch"),
        (["--batch", "x.pt"], "--batch takes the model"),
        (["--model", "own_nets:none", "--batch", "x.pt"], "--model='own_nets:none' must be"),
        (["--model", "no_nets:make", "--batch", "x.pt"], "--model='no_nets:make' must be"),
        (["--model", "own_nets", "--batch", "x.pt"], "--model='own_nets' must be"),
        (["--model", "own_nets:nothing", "--batch", "x.pt"], "returned a NoneType"),
        (["--model", "own_nets:other", "--batch", "x.pt"], "does not fit --model"),
        (["--model", "own_nets:make", "--batch", "own_nets.py"], "is no checkpoint"),
        (["--model", "own_nets:make", "--batch", "x.pt", "--loss", "mse"], "--loss='mse'"),
    ],
)
def test_bad_arguments_are_answered(factory, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(factory)
    assert main(["doctor", "kept.pt", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_without_a_checkpoint_it_says_what_it_takes(capsys):
    assert main(["doctor"]) == 0
    assert "doctor CHECKPOINT" in capsys.readouterr().out
    assert main(["doctor", "--loss", "mse_loss"]) == 2
    assert "goes with a checkpoint" in capsys.readouterr().err


def test_the_functions_behind_it(factory):
    report = diagnose_checkpoint(
        factory / "kept.pt", model="own_nets:make", batch=factory / "xy.pt", loss="cross_entropy"
    )
    direct = sh.diagnose(planted(), torch.load(factory / "xy.pt"), loss=nn.functional.cross_entropy)
    assert report.table.equals(direct.table)
