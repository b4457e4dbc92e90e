"""The compiled step: equal to the plain one, and done without where that cannot be."""

import shutil

import pytest
import torch

from small_training import FEW, OPTIMIZERS, assert_same, data, make_dropout, run
from syre_helpers.training.stacked import compile as compiling
from syre_helpers.training.stacked import micro_ensembles

compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler"
)


@pytest.fixture
def compiled_by(monkeypatch):
    """Return a function that takes the compiler's place; the steps it was given are listed."""

    def compiled_by(stand_in=lambda step: step):
        handed = []
        monkeypatch.setenv("SYRE_PROGRESS", "1")
        monkeypatch.setattr(compiling, "_missing", lambda device: None)

        def compile_not(step, *, fullgraph, **options):
            assert fullgraph
            handed.append(step)
            return stand_in(step)

        monkeypatch.setattr(torch, "compile", compile_not)
        return handed

    return compiled_by


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("coupled", [True, False])
def test_what_is_compiled_equals_the_plain_step(compiled_by, capsys, name, coupled):
    """The function that the compiler is given, run as it is: fast enough for every optimizer."""
    changed = {"optimizer": OPTIMIZERS[name], "coupled": coupled}
    plain = run(**changed)
    handed = compiled_by()
    assert_same(plain, run(compile=True, **changed), 1e-12)
    assert len(handed) == 1
    assert "goes on without" not in capsys.readouterr().err, "it was found to be another step"


@compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_compiled_equals_plain_and_resumes(tmp_path, interrupted_at, name):
    changed = {"optimizer": OPTIMIZERS[name], "coupled": name == "adamw"}
    plain, whole = run(**changed), run(compile=True, **changed)
    assert_same(plain, whole, 1e-12)
    kept = changed | {"compile": True, "checkpoint": tmp_path / "run.pt", "checkpoint_every": 6}
    interrupted_at(16)
    with pytest.raises(KeyboardInterrupt):
        run(**kept)
    assert_same(whole, run(**kept))


def test_data_of_another_shape_train_all_the_same(compiled_by):
    """Only the first shape is compiled; the others take the plain step between compiled ones."""
    x, y, *_ = data()
    changed = {"data": lambda step: (x[: 8 + step % 2], y[: 8 + step % 2]), "batch_size": None}
    plain = run(**changed)
    assert len(compiled_by()) == 0
    assert_same(plain, run(compile=True, **changed), 1e-12)


def fails(step):
    def broken(*inputs):
        inputs[0].zero_()
        raise RuntimeError("ld: cannot find -lgomp\nand much more")

    return broken


def is_wrong_by(change):
    """As where the compiler's cache holds a program for another processor."""

    def compiled(step):
        def other(*inputs):
            step(*inputs)
            change(inputs[0])

        return other

    return compiled


@pytest.mark.parametrize(
    ("stand_in", "words"),
    [
        (fails, "training goes on without compilation: RuntimeError: ld: cannot find -lgomp\n"),
        (is_wrong_by(lambda p: p[:1].mul_(1.1)), "compiled step is another one"),
        (is_wrong_by(lambda p: p.fill_(float("nan"))), "compiled step is another one"),
    ],
)
def test_a_compiler_that_fails_or_is_wrong_is_done_without(compiled_by, capsys, stand_in, words):
    for name in ("momentum", "adamw"):
        changed = {"optimizer": OPTIMIZERS[name]}
        plain = run(compile=False, **changed)
        compiled_by(stand_in)
        capsys.readouterr()
        assert_same(plain, run(compile=True, **changed))
        assert words in capsys.readouterr().err


def test_models_that_draw_random_numbers_are_not_compiled(compiled_by, capsys):
    handed = compiled_by()
    outcomes = []
    for wanted in (False, True):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            outcomes.append(run(make_model=make_dropout, compile=wanted))
    assert_same(*outcomes)
    assert not handed
    assert "draws random numbers" in capsys.readouterr().err


def test_micro_ensembles_of_one_size_share_a_compiled_step(monkeypatch, compiled_by):
    changed = {"arms": FEW[2:], "seeds": range(6), "optimizer": OPTIMIZERS["adam"]}
    plain = run(**changed)
    handed = compiled_by()
    monkeypatch.setattr(micro_ensembles, "models_at_once", lambda models, *others: 2)
    assert_same(plain, run(compile=True, **changed), 1e-12)
    assert len(handed) == 1
