"""Many models as one, fast: every fast path against the plain one, chunks, memory, fallbacks."""

import logging
import shutil
import types

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

import syre_helpers as sh
from syre_helpers import arms
from syre_helpers.training import chunks, compiling, memory, recorded, stepping
from syre_helpers.training.batches import BatchOrder, StackedOrder

compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler"
)


def make_model():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def made(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make_model()


def data(samples=48):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 4, generator=generator, dtype=torch.float64)
    y = (x.sum(1) > 0).long() + (x[:, 0] > 1).long()
    return x[:32], y[:32], x[32:], y[32:]


ARMS = [
    arms.vanilla(),
    arms.plain_decay(0.05),
    arms.syre(0.05, 0.3),
    arms.syre(0.05, 0.3, sigma_D=0.2),
    arms.weight_fix(0.3, 0.05),
    arms.pull_to_start(0.05),
    arms.shrink_and_perturb(0.2, 0.1, 7, 0.05),
    arms.resampled_bias(0.05, 0.3, every=3),
    arms.bias_added_after(0.05, 0.3),
]
FEW = [ARMS[3], ARMS[6], ARMS[7]]
SETTINGS = {
    "steps": 20,
    "loss": functional.cross_entropy,
    "batch_size": 8,
    "log_every": 7,
    "schedule": lambda step: 0.97**step,
}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "dampened": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.5),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.95)),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0),
}


def assert_same(one, other, tolerance):
    """Compare two returns of `fit_many`: tables and parameters."""
    pd.testing.assert_frame_equal(one[0], other[0], rtol=tolerance, atol=tolerance)
    assert one[1].keys() == other[1].keys()
    for key, params in one[1].items():
        for name, p in params.items():
            torch.testing.assert_close(p, other[1][key][name], rtol=tolerance, atol=tolerance)


def run(**changes):
    arguments = SETTINGS | {"optimizer": OPTIMIZERS["momentum"], "return_params": True} | changes
    compared = arguments.pop("arms", ARMS)
    return sh.fit_many(
        arguments.pop("make_model", make_model), arguments.pop("data", data()), compared,
        arguments.pop("seeds", range(2)), **arguments,
    )  # fmt: skip


# ---- the recorded step -----------------------------------------------------------------------


def test_recording_leaves_out_what_changes_nothing_and_keeps_every_bit():
    def function(a, b, c):
        same = a.transpose(0, 1).transpose(-1, -2).expand(3, 3) - b
        again = a - b
        once_more = torch.mul(again, 2.0) + torch.mul(same, 2.0)
        return [once_more * c + a, again.sum() * 1.5, (a @ b).view(3, 3) - a.t()]

    tensors = [torch.randn(3, 3), torch.randn(3, 3), torch.randn(3, 1)]
    before = [t.clone() for t in tensors]
    graph = recorded.record(function, tensors)
    for value, expected in zip(graph(*tensors), function(*tensors), strict=True):
        assert torch.equal(value, expected)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True)), "arguments stay"
    targets = [str(node.target) for node in graph.graph.nodes]
    assert sum(target.startswith(("aten.sub", "aten.sub_")) for target in targets) == 2
    assert not any("expand" in target or "view" in target for target in targets)


def test_memory_that_is_still_needed_is_not_reused():
    def function(a, b):
        first = a + b
        second = first * 2  # `first` is a result too
        third = a * b
        view = third[0]
        return [first, second, third + 1, view, second - first.sum()]

    tensors = [torch.randn(3, 3), torch.randn(3, 3)]
    graph = recorded.record(function, tensors)
    for value, expected in zip(graph(*tensors), function(*tensors), strict=True):
        assert torch.equal(value, expected)


def test_random_numbers_are_drawn_each_time_and_apart():
    def function(a):
        return [torch.rand_like(a), torch.rand_like(a)]

    graph = recorded.record(function, [torch.zeros(5)])
    assert recorded.draws(graph)
    one, other = graph(torch.zeros(5))
    assert not torch.equal(one, other)
    assert not torch.equal(graph(torch.zeros(5))[0], graph(torch.zeros(5))[0])
    assert not recorded.draws(recorded.record(lambda a: [a + 1], [torch.zeros(5)]))


def test_functions_that_write_into_what_they_made_are_recorded_as_they_are():
    def function(a):
        twice = a * 1.0
        kept = twice + 0
        twice.add_(1)
        return [twice + 0, kept]

    tensor = torch.randn(4)
    graph = recorded.record(function, [tensor])
    for value, expected in zip(graph(tensor), function(tensor), strict=True):
        assert torch.equal(value, expected)


def test_large_results_are_written_into_the_same_memory_at_every_call():
    def function(a, b, index):
        product = torch.bmm(a, b)
        picked = a[index]
        return [product + picked, product - 1.0, (picked * b).sum(), a - b[..., :1]]

    index = torch.tensor([2, 0, 2])
    tensors = [torch.randn(3, 256, 256), torch.randn(3, 256, 256).transpose(1, 2), index]
    graph = recorded.record(function, tensors)
    kept = recorded.keep_memory(graph)
    for _ in range(2):
        for value, expected in zip(kept(*tensors), function(*tensors), strict=True):
            assert torch.equal(value, expected)
            assert value.stride() == expected.stride()
        tensors = [torch.randn_like(tensors[0]), torch.randn_like(tensors[1]), index.flip(0)]
    first, other, small, last = kept(*tensors)
    again = kept(*tensors)
    assert [again[0].data_ptr(), again[3].data_ptr()] == [first.data_ptr(), last.data_ptr()]
    assert first.data_ptr() != last.data_ptr()
    assert graph(*tensors)[0].data_ptr() != first.data_ptr(), "what was recorded is not changed"
    assert sum(memory.nbytes for memory in kept.buffers()) >= 3 * first.nbytes
    assert not list(recorded.keep_memory(recorded.record(lambda a: [a + 1], [small])).buffers())
    assert torch.equal(other, torch.bmm(*tensors[:2]) - 1.0)


@pytest.mark.parametrize("name", ["momentum", "adamw"])
@pytest.mark.parametrize("coupled", [True, False])
def test_memory_that_is_kept_changes_no_bit(monkeypatch, name, coupled):
    changed = {"optimizer": OPTIMIZERS[name], "coupled": coupled}
    monkeypatch.setattr(recorded, "_LARGE", 2**62)
    fresh = run(**changed)
    monkeypatch.setattr(recorded, "_LARGE", 0)
    assert_same(fresh, run(**changed), 0)


@pytest.mark.parametrize("name", ["sgd", "nesterov", "dampened", "adamw"])
@pytest.mark.parametrize("coupled", [True, False])
def test_the_stacked_step_equals_the_plain_loop(name, coupled):
    changed = {"optimizer": OPTIMIZERS[name], "coupled": coupled}
    table, trained = run(**changed)
    for arm in ARMS:
        model = made(1)
        one = sh.fit(model, data(), arm, seed=1, **(SETTINGS | changed))
        same = table[(table.arm == arm.name) & (table.seed == 1)].reset_index(drop=True)
        pd.testing.assert_frame_equal(one, same, rtol=1e-11, check_dtype=False)
        for n, p in model.named_parameters():
            torch.testing.assert_close(p.data, trained[arm.name, 1][n], rtol=0, atol=1e-12)


def test_stacked_batches_are_those_of_single_models():
    seeds = [5, 3, 5]
    stacked = StackedOrder(20, 6, seeds, torch.device("cpu"))
    single = [BatchOrder(20, 6, seed) for seed in seeds]
    for step in (0, 1, 2, 3, 7, 4):
        expected = torch.stack([order.at(step) for order in single])
        assert torch.equal(stacked.at(step), expected)
    with pytest.raises(ValueError, match="batch_size=21"):
        StackedOrder(20, 21, seeds, torch.device("cpu"))


# ---- the compiled step -----------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("coupled", [True, False])
def test_what_is_compiled_equals_the_plain_step(monkeypatch, name, coupled):
    """The function that the compiler is given, run as it is: fast enough for every optimizer."""
    changed = {"optimizer": OPTIMIZERS[name], "coupled": coupled}
    plain = run(**changed)
    handed = []
    monkeypatch.setattr(compiling, "_missing", lambda device: None)

    def compile_not(step, **options):
        assert options["fullgraph"]
        handed.append(step)
        return step

    monkeypatch.setattr(stepping.torch, "compile", compile_not)
    assert_same(plain, run(compile=True, **changed), 1e-12)
    assert len(handed) == 1


@compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_compiled_equals_plain_and_resumes(tmp_path, monkeypatch, name):
    changed = {"optimizer": OPTIMIZERS[name], "coupled": name == "adamw"}
    plain, whole = run(**changed), run(compile=True, **changed)
    assert_same(plain, whole, 1e-12)
    kept = changed | {"compile": True, "checkpoint": tmp_path / "run.pt", "checkpoint_every": 6}
    step_of_all = stepping.StackedStep.__call__

    def interrupted(self, step, batch):
        if step == 15:
            raise KeyboardInterrupt
        step_of_all(self, step, batch)

    with monkeypatch.context() as patch:
        patch.setattr(stepping.StackedStep, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(**kept)
    assert_same(whole, run(**kept), 0)


def test_data_of_another_shape_train_all_the_same(monkeypatch):
    """Only the first shape is compiled; the others take the plain step between compiled ones."""
    x, y, *_ = data()
    changed = {"data": lambda step: (x[: 8 + step % 2], y[: 8 + step % 2]), "batch_size": None}
    changed |= {"optimizer": OPTIMIZERS["adam"], "arms": FEW}
    plain = run(**changed)
    monkeypatch.setattr(compiling, "_missing", lambda device: None)
    monkeypatch.setattr(stepping.torch, "compile", lambda step, **options: step)
    assert_same(plain, run(compile=True, **changed), 1e-12)


def test_a_compiler_that_fails_is_done_without(monkeypatch, capsys):
    monkeypatch.setattr(compiling, "_missing", lambda device: None)

    def broken(*inputs):
        inputs[0].zero_()
        raise RuntimeError("ld: cannot find -lgomp\nand much more")

    monkeypatch.setattr(stepping.torch, "compile", lambda step, **options: broken)
    monkeypatch.setenv("SYRE_PROGRESS", "1")
    plain = run(arms=FEW)
    capsys.readouterr()
    assert_same(plain, run(arms=FEW, compile=True), 0)
    said = capsys.readouterr().err
    assert "training goes on without compilation: RuntimeError: ld: cannot find -lgomp" in said
    assert "much more" not in said


@pytest.mark.parametrize("wrong", [lambda p: p[:1].mul_(1.1), lambda p: p.fill_(float("nan"))])
def test_a_compiler_that_is_wrong_is_found_out(monkeypatch, capsys, wrong):
    """As where its cache holds a program for another processor."""
    monkeypatch.setattr(compiling, "_missing", lambda device: None)

    def compiled(step, **options):
        def other(*inputs):
            step(*inputs)
            wrong(inputs[0])

        return other

    monkeypatch.setattr(stepping.torch, "compile", compiled)
    monkeypatch.setenv("SYRE_PROGRESS", "1")
    for name in ("momentum", "adamw"):
        changed = {"arms": FEW, "optimizer": OPTIMIZERS[name]}
        plain = run(**changed)
        capsys.readouterr()
        assert_same(plain, run(compile=True, **changed), 0)
        assert "compiled step is another one" in capsys.readouterr().err


def test_models_that_draw_random_numbers_are_not_compiled(monkeypatch, capsys):
    monkeypatch.setattr(compiling, "_missing", lambda device: None)
    monkeypatch.setattr(stepping.torch, "compile", lambda step, **options: pytest.fail("compiled"))
    monkeypatch.setenv("SYRE_PROGRESS", "1")

    def dropout():
        return nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3)).double()

    outcomes = []
    for choice in (False, True):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            outcomes.append(run(make_model=dropout, arms=FEW, compile=choice))
    assert_same(*outcomes, 0)
    assert "draws random numbers" in capsys.readouterr().err


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
def test_the_choice_follows_from_the_arguments(
    monkeypatch, wanted, steps, elements, there, compiled, words
):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: name if there else None)
    choice = compiling.choose(wanted, steps, elements, SGD, CPU)
    assert choice.compiled is compiled
    assert words in choice.reason


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
    choice = compiling.choose(True, 10, 10, optimizer, CPU)
    assert not choice.compiled
    assert type(optimizer).__name__ in choice.reason


def test_short_runs_say_nothing_and_long_ones_one_line(monkeypatch, capsys, caplog):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    monkeypatch.setenv("SYRE_PROGRESS", "1")
    caplog.set_level(logging.INFO, "syre_helpers")
    compiling.choose(None, 1000, 1000, SGD, CPU).announce()
    assert capsys.readouterr().err == ""
    assert "would not repay" in caplog.text
    compiling.choose(None, 10**6, 1000, SGD, CPU).announce()
    said = capsys.readouterr().err
    assert said.startswith("training not compiled: no C++ compiler")
    assert said.count("\n") == 1
    monkeypatch.setenv("SYRE_PROGRESS", "0")
    compiling.choose(None, 10**6, 1000, SGD, CPU).announce()
    assert capsys.readouterr().err == ""


def test_chunks_of_one_size_share_a_compiled_step(monkeypatch):
    changed = {"arms": [ARMS[7]], "seeds": range(6), "optimizer": OPTIMIZERS["adam"]}
    plain = run(**changed)
    handed = []
    monkeypatch.setattr(compiling, "_missing", lambda device: None)
    monkeypatch.setattr(
        stepping.torch, "compile", lambda step, **options: handed.append(step) or step
    )
    monkeypatch.setattr(chunks, "models_at_once", lambda models, *others: 2)
    assert_same(plain, run(compile=True, **changed), 1e-12)
    assert len(handed) == 1


# ---- chunks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 4])
def test_results_do_not_depend_on_the_chunks(monkeypatch, size):
    changed = {"arms": FEW, "optimizer": OPTIMIZERS["adam"]}
    together = run(**changed)
    monkeypatch.setattr(chunks, "models_at_once", lambda models, *others: size)
    assert_same(together, run(**changed), 1e-12)


def failing_above(limit, error):
    """Make a step that runs out of memory for more than so many models, in the third step."""
    step_of_all = stepping.StackedStep.__call__

    def step(self, t, batch):
        models = len(next(iter(self._params.values())))
        if t == 2 and models > limit:
            raise error
        step_of_all(self, t, batch)
        # Programs of a size that was too large keep memory.
        assert {key[0] for key in self._programs.keeping} == {models}

    return step


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_chunks_are_halved_when_memory_runs_out(monkeypatch, error):
    together = run(arms=FEW)
    monkeypatch.setattr(stepping.StackedStep, "__call__", failing_above(3, error))
    assert_same(together, run(arms=FEW), 1e-12)
    monkeypatch.setattr(stepping.StackedStep, "__call__", failing_above(0, error))
    with pytest.raises(type(error)):
        run(arms=FEW)


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch):
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    monkeypatch.setattr(stepping.StackedStep, "__call__", failing_above(3, error))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(arms=FEW)


def test_a_run_in_chunks_resumes_in_the_same_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "models_at_once", lambda models, *others: 4)
    whole = run(arms=FEW)
    kept = {"arms": FEW, "checkpoint": tmp_path / "run.pt", "checkpoint_every": 6}
    step_of_all = stepping.StackedStep.__call__
    taken = []

    def counted(self, step, batch):
        taken.append((len(next(iter(self._params.values()))), step))
        if len(taken) == 30:
            raise KeyboardInterrupt
        step_of_all(self, step, batch)

    with monkeypatch.context() as patch:
        patch.setattr(stepping.StackedStep, "__call__", counted)
        with pytest.raises(KeyboardInterrupt):
            run(**kept)  # in the second chunk of two
        # Another day, with more memory at hand.
        patch.setattr(chunks, "models_at_once", lambda models, *others: models)
        assert_same(whole, run(**kept), 0)
        assert taken[30:] == [(2, step) for step in range(6, 20)]
        assert_same(whole, run(**kept), 0)
    assert len(taken) == 30 + 14


def test_free_memory_decides_how_many_train_at_once(monkeypatch):
    def at_once(models, each, free, device="cpu", largest=1):
        monkeypatch.setattr(memory, "free_bytes", lambda device: free)
        return memory.models_at_once(models, each, largest, torch.device(device))

    assert at_once(32, 10, None) == 32
    assert at_once(32, 10, 10**6) == 32
    assert at_once(32, 10, 500) == 16, "30 fit; two chunks, of equal size"
    assert at_once(32, 10, 1) == 1, "one model is always tried"
    assert at_once(100, 1, 10**9, largest=2**20) == 15, "16 MB an array: seven chunks"
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
