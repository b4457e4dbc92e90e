"""Checkpoints without their models, and ``python -m syre_helpers doctor``."""

import argparse
import io
import json
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import syre_helpers as sh
from small_faults import batch, conv, kill, lower_rank, make_twins, mlp
from syre_helpers.__main__ import main
from syre_helpers.diagnosis import diagnose_checkpoint, diagnose_state, read_checkpoint
from syre_helpers.diagnosis.stored import computed


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


def counts(report):
    table = report.table.loc[[name for name in report.table.index if name.endswith("0.weight")]]
    return table.dead.iloc[0], table.twins.iloc[0]


def in_parts(folder, state):
    safetensors = pytest.importorskip("safetensors.torch")
    folder.mkdir()
    names, files = list(state), ("model-1-of-2.safetensors", "model-2-of-2.safetensors")
    places = {name: files[number > 1] for number, name in enumerate(names)}
    for file in files:
        part = {name: state[name] for name in names if places[name] == file}
        safetensors.save_file(part, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def of_a_trainer(folder, state):
    folder.mkdir()
    torch.save(state, folder / "pytorch_model.bin")
    torch.save({"state": {0: {"exp_avg": torch.ones(99, 99)}}}, folder / "optimizer.pt")
    torch.save({"a": torch.ones(3, 3)}, folder / "rng_state.pth")
    (folder / "config.json").write_text("{}")
    return folder


def of_an_agent(file, state):
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (("policy.pth", state), ("policy.optimizer.pth", {})):
            kept = io.BytesIO()
            torch.save(content, kept)
            archive.writestr(name, kept.getvalue())
    return file


def of_fit(file, state):
    model = planted()
    model.load_state_dict(state)
    data = torch.randn(8, 20), torch.zeros(8, 10)
    sh.fit(
        model, data, sh.arms.vanilla(), steps=1, loss=nn.functional.mse_loss, checkpoint=file,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.0),
    )  # fmt: skip
    return file


def with_words(file, state):
    how = argparse.Namespace(lr=0.1, name="a run")
    torch.save({"model": state, "args": how, "best": np.float64(0.3)}, file)
    return file


def of_syre(file, state):
    model = planted()
    model.load_state_dict(state)
    sh.Syre(0.1, sigma_ratio=0.5).parametrize(model)
    torch.save(model.state_dict(), file)
    return file


def wrapped(file, state):
    torch.save({f"module._orig_mod.{name}": tensor for name, tensor in state.items()}, file)
    return file


@pytest.mark.parametrize(
    "keep",
    [in_parts, of_a_trainer, of_an_agent, of_fit, with_words, of_syre, wrapped],
    ids=lambda keep: keep.__name__,
)
def test_what_people_keep_is_read(tmp_path, keep):
    state = planted().state_dict()
    file = keep(tmp_path / "kept", state)
    assert counts(diagnose_checkpoint(file)) == (7, 5)
    if file.suffix == ".json":
        assert counts(diagnose_checkpoint(file.parent)) == (7, 5)
        (file.parent / "model-2-of-2.safetensors").unlink()
        with pytest.raises(OSError, match="not beside it"):
            diagnose_checkpoint(file)


def test_weights_are_judged_as_the_model_computes_them():
    """By weight_norm, the old and the new; by a mask of pruning; each against the layer's own."""
    generator = torch.Generator().manual_seed(0)
    for change in (
        nn.utils.parametrizations.weight_norm,
        lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    ):
        layer = nn.Linear(6, 5)
        change(layer)
        with torch.no_grad():
            for p in layer.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
        state = computed(nn.Sequential(layer).state_dict(), [])
        layer(torch.ones(1, 6))
        assert state.keys() == {"0.weight", "0.bias"}
        torch.testing.assert_close(state["0.weight"], layer.weight.detach())
    v, g = torch.randn(4, 3, 2), torch.rand(4, 1, 1)
    old = computed({"conv.weight_g": g, "conv.weight_v": v}, [])
    torch.testing.assert_close(old["conv.weight"], torch._weight_norm(v, g, 0))


def test_several_models_in_a_file_are_named(tmp_path):
    """A generator and its critic: which one was judged is said."""
    small, large = mlp(widths=(4, 6, 3)).state_dict(), planted().state_dict()
    torch.save({"generator": small, "critic": large}, tmp_path / "kept.pt")
    report = diagnose_checkpoint(tmp_path / "kept.pt")
    assert counts(report) == (7, 5)
    assert any("'generator'" in what and "'critic'" in why for what, why in report.left_out)


def test_what_begins_at_zero_is_no_dead_layer():
    state = {"lora_A.weight": torch.randn(4, 20), "lora_B.weight": torch.zeros(20, 4)}
    report = diagnose_state(state)
    assert not report.alarms
    assert any(what == "lora_B.weight" and "all of it is 0" in why for what, why in report.left_out)


def test_a_gate_told_from_weights_alone_says_what_it_rests_on():
    model = conv()
    with torch.no_grad():
        model[1].bias[2] = -7.0
    report = diagnose_state(model.state_dict())
    assert any(what == "what follows a norm" for what, _ in report.left_out)
    assert not any(
        w == "what follows a norm" for w, _ in diagnose_state(conv().state_dict()).left_out
    )


def test_twins_by_weights_alone_are_not_said_to_be_stuck():
    """Who reads them is not known: if that differs, a gradient parts them."""
    advice = diagnose_state(planted().state_dict()).advice
    assert "the weights alone do not tell" in advice
    assert "which no gradient parts" not in advice


REFUSED = {
    "an optimizer": lambda p: torch.save(adam().state_dict(), p),
    "many models": lambda p: many(p),
    "TorchScript": lambda p: torch.jit.save(torch.jit.script(mlp(dtype=torch.float32)), p),
    "an empty folder": lambda p: p.mkdir(),
    "runs in a folder": lambda p: (p / "checkpoint-4").mkdir(parents=True),
    "numpy": lambda p: (
        np.savez(p.with_suffix(".npz"), a=np.ones(3)) or p.with_suffix(".npz").rename(p)
    ),
    "half a file": lambda p: (torch.save(planted().state_dict(), p), os.truncate(p, 3000)),
}


def adam():
    model = planted()
    optimizer = torch.optim.Adam(model.parameters())
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    return optimizer


def many(file):
    data = torch.randn(8, 20), torch.zeros(8, 10)
    sh.train_many(
        lambda: mlp(widths=(20, 8, 10), dtype=torch.float32), data, [sh.arms.vanilla()], range(2),
        steps=1, loss=nn.functional.mse_loss, optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        checkpoint=file, compile=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("an optimizer", "holds no named tensors of a model"),
        ("many models", "it holds many side by side"),
        ("TorchScript", "it is a TorchScript program"),
        ("an empty folder", "there: nothing"),
        ("runs in a folder", "there: checkpoint-4"),
        ("numpy", "torch.save did not write it"),
        ("half a file", "it is cut off or damaged"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_what_holds_no_single_model_is_refused_in_one_line(tmp_path, capsys, kind, words):
    REFUSED[kind](tmp_path / "kept.pt")
    capsys.readouterr()
    assert main(["doctor", str(tmp_path / "kept.pt")]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


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
    assert "there is no file" in capsys.readouterr().err


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


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "net.", "module.model."])
def test_the_model_is_found_behind_what_wrappers_put_before_its_names(factory, capsys, prefix):
    """As DataParallel, a compiled model and a Lightning module do; beside other tensors."""
    state = torch.load(factory / "kept.pt")
    named = {prefix + name: tensor for name, tensor in state.items()}
    torch.save({"state_dict": named | {"step_loss.scale": torch.ones(1)}}, factory / "kept.pt")
    batched = ["--model", "own_nets:make", "--batch", str(factory / "x.pt")]
    if not prefix.startswith(("net", "module.model")):
        torch.save(named, factory / "kept.pt")
    assert main(["doctor", str(factory / "kept.pt"), *batched]) == 0
    assert "7 of 64 units are dead" in capsys.readouterr().out


def test_the_functions_behind_it(factory):
    report = diagnose_checkpoint(
        factory / "kept.pt", model="own_nets:make", batch=factory / "xy.pt", loss="cross_entropy"
    )
    direct = sh.diagnose(planted(), torch.load(factory / "xy.pt"), loss=nn.functional.cross_entropy)
    assert report.table.equals(direct.table)
