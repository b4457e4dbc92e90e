"""Checkpoints: runs resume to the same bits, and a file that is not theirs is refused by name."""

import errno
import functools
import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from small_training import (
    ARMS,
    FEW,
    OPTIMIZERS,
    assert_same,
    data,
    made,
    make_dropout,
    run,
    run_one,
)
from syre_helpers import arms
from syre_helpers.training.checkpoint import Checkpoint
from syre_helpers.training.identity import describe

CPU = torch.device("cpu")


@pytest.fixture(params=["fit", "train_many"])
def train(request):
    """Return a function that trains by one of the doors."""
    return run_one if request.param == "fit" else functools.partial(run, arms=FEW[:1])


def resumes(tmp_path, interrupted_at, train, step, left, **changes):
    """Interrupt a run, go on, and compare with one that was not; then load what is finished."""
    torch.manual_seed(1)
    whole = train(**changes)
    kept = changes | {"checkpoint": tmp_path / "new" / "run.pt", "checkpoint_every": 6}
    torch.manual_seed(1)
    begun = interrupted_at(step)
    with pytest.raises(KeyboardInterrupt):
        train(**kept)
    torch.manual_seed(99)
    assert_same(whole, train(**kept))
    assert len(begun) == step + left, "it goes on from the last file written"
    assert_same(whole, train(**kept))
    assert len(begun) == step + left
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run.pt"]


@pytest.mark.parametrize("arm", ARMS, ids=[arm.label for arm in ARMS])
def test_an_interrupted_run_resumes(tmp_path, interrupted_at, arm):
    adam = OPTIMIZERS["adam"]
    resumes(tmp_path, interrupted_at, run_one, 17, 20 - 12, arm=arm, optimizer=adam)


def test_an_interrupted_comparison_resumes(tmp_path, interrupted_at):
    resumes(tmp_path, interrupted_at, run, 15, 20 - 12, arms=ARMS)


def test_dropout_goes_on_as_it_would_have(tmp_path, interrupted_at, train):
    make = {"make": make_dropout} if train is run_one else {"make_model": make_dropout}
    resumes(tmp_path, interrupted_at, train, 15, 20 - 12, **make)


def test_a_run_that_draws_nothing_leaves_the_generator_alone(tmp_path, train):
    kept = {"checkpoint": tmp_path / "run.pt"}
    train(**kept)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    train(**kept)
    assert torch.equal(state, torch.get_rng_state())


# ---- files of other runs ---------------------------------------------------------------------


def scaled(factor):
    return lambda output, y: factor * functional.cross_entropy(output, y)


def squared(output, y):
    return functional.cross_entropy(output, y) ** 2


def another(value):
    return arms.starting_from(
        FEW[0], lambda params, seed: {n: value * p for n, p in params.items()}
    )


@functools.cache
def content(train):
    """Return the bytes of a finished run's file."""
    with tempfile.TemporaryDirectory() as folder:
        train(checkpoint=Path(folder) / "run.pt")
        return (Path(folder) / "run.pt").read_bytes()


x, y, *test = data()
ONE = {"arms": FEW[:1]}
# What is trained first, what differs then, and a part of what is said.
OTHERS = [
    ({}, {"steps": 21}, "steps: 20 there, 21 here"),
    ({}, {"log_every": 5}, "logged steps: [0, 7, 14, 20] there, [0, 5, 10, 15, 20] here"),
    ({}, {"optimizer": OPTIMIZERS["adamw"]}, "optimizer: SGD there, AdamW here"),
    ({}, {"optimizer": lambda p: torch.optim.SGD(p, lr=0.06)}, "lr: 0.05 there, 0.06 here"),
    ({}, {"optimizer": OPTIMIZERS["nesterov"]}, "nesterov: False there, True here"),
    ({}, {"schedule": lambda step: 1.0 if step < 13 else 0.5}, "schedule: [1.0, 0.97, 0"),
    ({}, {"coupled": False}, "coupled: True there, False here"),
    ({}, {"batch_size": 4}, "batch_size: 8 there, 4 here"),
    ({}, {"loss": squared}, "loss: "),
    ({"loss": scaled(1.0)}, {"loss": scaled(2.0)}, "loss: "),
    ({}, {"measures": {"one": lambda p, predict: torch.ones(())}}, "measures: [] there, ['on"),
    ({}, {"data": (x, y.flip(0), *test)}, "data: "),
    ({}, {"data": (x, y, test[0], test[1].flip(0))}, "data: "),
    ({}, {"data": (x, y)}, "data: "),
]  # fmt: skip
OTHERS_OF_A_DOOR = [
    (run_one, {}, {"arm": arms.syre(0.1, 0.3, sigma_D=0.2)}, "arm 1: syre("),
    (run_one, {}, {"seed": 2}, "seeds: [1] there, [2] here"),
    (run_one, {}, {"make": lambda: made(7)}, "starting parameters: "),
    (run, ONE, {}, "arm 2: none there, shrink_and_perturb("),
    (run, ONE, {"arms": FEW[1:2]}, "arm 1: syre("),
    (run, {"arms": [another(1)]}, {"arms": [another(2)]}, "arm 1: starting_from("),
    (run, {"seeds": [0]}, {"seeds": [1]}, "seeds: [0] there, [1] here"),
    (run, {}, {"make_model": lambda: made(7)}, "starting parameters: "),
]


def refuses(file, train, first, second, words):
    if first:
        train(checkpoint=file, **first)
    else:
        file.write_bytes(content(train))
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"run\.pt' belongs to another run") as caught:
        train(checkpoint=file, **second)
    assert words in str(caught.value)
    assert before == file.read_bytes()


@pytest.mark.parametrize(("first", "second", "words"), OTHERS)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, train, first, second, words):
    refuses(tmp_path / "run.pt", train, first, second, words)


@pytest.mark.parametrize(("door", "first", "second", "words"), OTHERS_OF_A_DOOR)
def test_a_checkpoint_of_other_arms_seeds_or_models(tmp_path, door, first, second, words):
    refuses(tmp_path / "run.pt", door, first, second, words)


def test_a_checkpoint_of_one_door_is_refused_by_the_other(tmp_path):
    run_one(checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match="call: 'fit' there, 'fit_many' here"):
        run(arms=FEW[:1], seeds=[1], checkpoint=tmp_path / "run.pt")


def test_a_function_of_the_step_is_told_by_its_batches(tmp_path, train):
    changes = {"batch_size": None, "checkpoint": tmp_path / "run.pt"}
    train(data=lambda step: (x[step : step + 4], y[:4]), **changes)
    train(data=lambda t: (x[t : t + 4], y[:4]), **changes)
    with pytest.raises(ValueError, match="data: "):
        train(data=lambda step: (x[step // 2 : step // 2 + 4], y[:4]), **changes)


def test_the_same_run_may_be_spelt_anew(tmp_path, train):
    file, told = tmp_path / "run.pt", []
    file.write_bytes(content(train))
    same = {
        "optimizer": lambda params: torch.optim.SGD(params, 0.05, 0.9),
        "schedule": lambda t: 0.97**t,
        "data": tuple(t.clone() for t in data()),
        "log_every": [7, 14],
        "checkpoint_every": 3,
        "callbacks": [told.append],
    }
    assert_same(train(), train(checkpoint=file, **same))
    assert not told, "nothing was trained"


def test_words_for_values_are_the_same_in_another_process():
    program = (
        "from small_training import *; from syre_helpers.training.identity import describe;"
        "print([describe(v) for v in (ARMS, data(), run, made, {frozenset('abc')}, 3.5,"
        "FEW[0].pull, made(1).forward, 'abc'.join, torch.device('cpu'))])"
    )
    own = [sys.executable, "-W", "ignore", "-c", program]
    said = {
        subprocess.run(own, capture_output=True, text=True, check=True, env=environment).stdout
        for environment in (
            {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)} for seed in "12"
        )
    }
    assert len(said) == 1
    assert "0x" not in said.pop()


GLOBAL = 3


def test_a_function_is_its_code_and_all_that_it_refers_to(monkeypatch):
    def inner():
        return 1

    def counting(start):
        return lambda: start + GLOBAL + helper()

    one = describe(counting(1))
    assert describe(counting(1)) == one != describe(counting(2))
    assert describe(functools.partial(inner)) != describe(functools.partial(inner, 1))
    assert describe(functional.mse_loss) == "torch.nn.functional.mse_loss"
    monkeypatch.setitem(globals(), "GLOBAL", 4)
    assert describe(counting(1)) != one
    itself = []
    itself.append(itself)
    assert describe(itself) == "[itself]"
    assert describe(made(1)) != describe(made(2)), "modules, by their parameters"
    assert describe(np.float64(0.1)) == describe(0.1)
    assert describe(np.arange(3)) != describe(np.arange(3) + 1)
    doubled = [1]
    for _ in range(200):  # 2**200 values, if each were looked at again
        doubled = [doubled, doubled]
    assert len(describe(doubled)) <= 100


def helper():
    return GLOBAL


# ---- files that are damaged, and folders that are full ---------------------------------------


def flipped(where):
    def change(content):
        changed = bytearray(content)
        changed[int(where * len(changed))] ^= 4
        return bytes(changed)

    return change


def old_format(content):
    file = io.BytesIO()
    torch.save({"run": {}, "step": 3}, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        *(
            (flipped(k / 20), "is damaged|is no checkpoint|is of another version")
            for k in range(20)
        ),
        (flipped(0.999), "is damaged"),
        (lambda content: content[:-1], "is damaged: truncated or changed"),
        (lambda content: content[: len(content) // 2], "is damaged"),
        (lambda content: content[:30], "is damaged"),
        (lambda content: b"", "is empty"),
        (lambda content: b"step,loss\n1,2\n", "is no checkpoint of fit"),
        (lambda content: content.replace(b"point 2", b"point 1", 1), "is of another version"),
        (old_format, "is of an older version"),
    ],
)
def test_a_file_that_is_no_whole_checkpoint_is_named_and_never_used(tmp_path, train, change, words):
    file = tmp_path / "run.pt"
    file.write_bytes(change(content(train)))
    before = file.read_bytes()
    with pytest.raises(ValueError, match=rf"run\.pt' (?:{words}).*delete this one"):
        train(checkpoint=file)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("place", "words"), [("", "is a folder"), ("file/run.pt", r"cannot be written \(File exists\)")]
)
def test_a_place_that_cannot_be_written_is_named_before_training(
    tmp_path, train, interrupted_at, place, words
):
    (tmp_path / "file").write_text("")
    begun = interrupted_at(1)
    with pytest.raises(ValueError, match=f"^checkpoint=.*{words}"):
        train(checkpoint=tmp_path / place)
    assert not begun


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    kept = Checkpoint(tmp_path / "run.pt", 1, lambda: {"call": "'test'"})
    kept.save({"step": 1})
    before = (tmp_path / "run.pt").read_bytes()
    write = Path.write_bytes

    def full(self, content):
        write(self, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"cannot be written \(No space left on device\)"):
        kept.save({"step": 2})
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"], "nothing half-written"
    assert (tmp_path / "run.pt").read_bytes() == before
    assert kept.load(CPU) == {"step": 1}


def test_nothing_in_a_file_is_executed(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("executed",))

    kept = Checkpoint(tmp_path / "run.pt", 1, dict)
    kept.save({"step": Harmful()})
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        kept.load(CPU)
