"""Micro-ensembles: as many models at once as there is memory for, with the same results."""

import types

import pytest
import torch

from small_training import assert_same, run
from syre_helpers.training.stacked import memory, micro_ensembles

CPU = torch.device("cpu")


@pytest.fixture
def at_once(monkeypatch):
    """Return a function that sets how many models train at once."""

    def at_once(size):
        monkeypatch.setattr(
            micro_ensembles, "models_at_once", lambda models, *others: size or models
        )

    return at_once


@pytest.mark.parametrize("size", [1, 3, 4])
def test_results_do_not_depend_on_the_number_at_once(at_once, size):
    together = run()
    at_once(size)
    assert_same(together, run(), 1e-12)


def fails_above(limit, error):
    """Make a callback that fails before the third step of more than `limit` models."""

    def fail(moment):
        if moment.step == 2 and moment.rows is None and len(moment.params["2.bias"]) > limit:
            raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_fewer_train_at_once_when_memory_runs_out(error):
    sizes = []
    note = [lambda moment: sizes.append(len(moment.params["2.bias"]))]
    assert_same(run(), run(callbacks=[fails_above(3, error), *note]), 1e-12)
    assert set(sizes) == {6, 3}
    with pytest.raises(type(error)):
        run(callbacks=[fails_above(0, error)])


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(callbacks=[fails_above(3, error)])


def test_a_run_in_parts_resumes_in_the_same_parts(tmp_path, at_once, interrupted_at):
    at_once(4)
    whole = run()
    kept = {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 6}
    begun = interrupted_at(30)
    with pytest.raises(KeyboardInterrupt):
        run(**kept)  # in the second of two parts
    at_once(None)  # another day, with more memory at hand
    assert_same(whole, run(**kept))
    assert begun[30:] == list(range(6, 20))
    assert_same(whole, run(**kept))
    assert len(begun) == 30 + 14


# ---- memory ----------------------------------------------------------------------------------


def test_free_memory_decides_how_many_train_at_once(monkeypatch):
    def at_once(models, each, free, device="cpu", largest=1):
        monkeypatch.setattr(memory, "free_bytes", lambda device: free)
        return memory.models_at_once(models, each, largest, torch.device(device))

    assert at_once(32, 10, None) == 32
    assert at_once(32, 10, 10**6) == 32
    assert at_once(32, 10, 500) == 16, "30 fit; two groups, of equal size"
    assert at_once(32, 10, 1) == 1, "one model is always tried"
    assert at_once(100, 1, 10**9, largest=2**20) == 15, "16 MB an array: seven groups"
    assert at_once(100, 1, 10**9, "cuda", largest=2**20) == 100


def test_the_memory_of_a_model_is_counted_with_what_its_gradient_makes():
    weight = torch.zeros(100, 10)
    state = torch.random.get_rng_state()
    made = memory.bytes_to_train([weight], lambda: (torch.rand(1000), weight.view(-1), weight[0]))
    assert made == memory._COPIES * 4000 + 4000, "views take nothing"
    assert torch.equal(torch.random.get_rng_state(), state)


def test_free_memory_is_that_of_the_machine_or_of_its_container(monkeypatch, tmp_path):
    free = memory.free_bytes(CPU)
    assert free is None or free > 10**6
    limit, usage = tmp_path / "limit", tmp_path / "usage"
    monkeypatch.setattr(memory, "_CGROUPS", ((str(limit), str(usage)),))
    without = memory.free_bytes(CPU)
    limit.write_text("5000\n")
    usage.write_text("2000\n")
    assert memory.free_bytes(CPU) == 3000
    limit.write_text("max\n")
    assert without is None or memory.free_bytes(CPU) > 10**6
    monkeypatch.setattr(memory.torch.cuda, "mem_get_info", lambda device: (700, 1000))
    monkeypatch.setattr(memory.torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(memory.torch.cuda, "memory_allocated", lambda device: 20)
    assert memory.free_bytes(types.SimpleNamespace(type="cuda")) == 730
