"""Grids: the same table from one process, from several, and where one is killed in mid-run."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid

import joblib
import pandas as pd
import pytest
import torch

from syre_helpers import experiments
from syre_helpers.__main__ import main
from syre_helpers.experiments.record import peak_memory_mb, read_record
from syre_helpers.training import listening

STEPS, STOPPED = 40, 32
VICTIM = (3,)
LIMIT = 120  # seconds until a test gives up waiting


def alike(table):
    return table.sort_values(["arm", "seed", "step"], kind="stable").reset_index(drop=True)


def logged_run(config, checkpoints):
    """Run `dead_neurons`, and note in the folder "log" how many steps were done by whom.

    Where a file "armed" lies there, the first attempt at the victim waits in mid-run to be killed.
    """
    log = checkpoints.parent / "log"
    log.mkdir(exist_ok=True)
    note = log / f"{config.seeds[0]}-{uuid.uuid4().hex}.json"

    begun = []

    def listen(moment):
        if moment.rows is not None:  # a measurement, at which no step begins
            return
        begun.append(moment.step)
        steps = moment.steps - begun[0]
        note.write_text(json.dumps({"seeds": config.seeds, "pid": os.getpid(), "steps": steps}))
        if config.seeds == VICTIM and moment.step == STOPPED and (log / "armed").exists():
            (log / "armed").rename(log / "waiting")
            (log / "pid").write_text(str(os.getpid()))
            until(lambda: False)

    with listening(listen):
        return experiments.load("dead_neurons").run(config, checkpoints)


def until(condition):
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("nothing happened")
        time.sleep(0.02)


def arm(folder):
    (folder / "log").mkdir(parents=True)
    (folder / "log" / "armed").touch()


def kill_the_victim(folder):
    """Kill the process that works on the victim, when another cell is done."""
    until(lambda: (folder / "log" / "pid").exists() and list(folder.glob("*.json")))
    os.kill(int((folder / "log" / "pid").read_text()), signal.SIGKILL)


def notes(folder):
    return [json.loads(file.read_text()) for file in (folder / "log").glob("*.json")]


def check_nothing_was_lost_or_done_twice(folder):
    """The victim's second attempt went on from its checkpoint; every other cell ran once."""
    steps = {}
    for note in notes(folder):
        steps.setdefault(tuple(note["seeds"]), []).append(note["steps"])
    assert {seeds: sorted(n) for seeds, n in steps.items()} == {
        (0,): [STEPS],
        (1,): [STEPS],
        (2,): [STEPS],
        VICTIM: [STEPS - STOPPED, STEPS],
    }
    assert len(list(folder.glob("*.json"))) == 4, "one file a cell, and nothing left over"
    assert {f.name for f in folder.iterdir() if f.is_dir()} == {"log"}


@pytest.fixture(scope="module")
def cells(small):
    return experiments.split_seeds(small(seeds=4), 4)


@pytest.fixture(scope="module")
def expected(cells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    table = experiments.grid(logged_run, cells, folder)
    assert [note["pid"] for note in notes(folder)] == [os.getpid()] * 4
    assert table.groupby(["arm", "step"]).seed.apply(list).map(lambda s: s == [0, 1, 2, 3]).all()
    return table


@pytest.fixture
def processes():
    yield
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)


@pytest.mark.slow
@pytest.mark.usefixtures("processes")
def test_two_processes_one_killed(cells, expected, tmp_path):
    arm(tmp_path)
    killer = threading.Thread(target=kill_the_victim, args=[tmp_path])
    killer.start()
    with pytest.raises(RuntimeError, match=r"of 4 cells are done and kept"):
        experiments.grid(logged_run, cells, tmp_path, jobs=2)
    killer.join()
    table = experiments.grid(logged_run, cells, tmp_path, jobs=2)
    pd.testing.assert_frame_equal(table, expected, check_exact=True)
    # The pool goes down as a whole, so a neighbour may have been cut short, too.
    for note in notes(tmp_path):
        assert note["steps"] <= STEPS
    victims = sorted(n["steps"] for n in notes(tmp_path) if n["seeds"] == list(VICTIM))
    assert victims == [STEPS - STOPPED, STEPS]


@pytest.mark.slow
def test_two_workers_of_dask_one_killed(cells, expected, tmp_path):
    distributed = pytest.importorskip("distributed")
    arm(tmp_path)
    killer = threading.Thread(target=kill_the_victim, args=[tmp_path])
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        killer.start()
        table = experiments.grid(logged_run, cells, tmp_path)
    killer.join()
    pd.testing.assert_frame_equal(table, expected, check_exact=True)
    check_nothing_was_lost_or_done_twice(tmp_path)
    assert len({note["pid"] for note in notes(tmp_path)} - {os.getpid()}) >= 2


def test_an_interrupted_grid_goes_on(cells, expected, tmp_path, monkeypatch):
    arm(tmp_path)

    def interrupted(condition):
        raise KeyboardInterrupt

    monkeypatch.setitem(globals(), "until", interrupted)
    with pytest.raises(KeyboardInterrupt):
        experiments.grid(logged_run, cells, tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 3
    table = experiments.grid(logged_run, cells, tmp_path)
    pd.testing.assert_frame_equal(table, expected, check_exact=True)
    check_nothing_was_lost_or_done_twice(tmp_path)
    # And once more: nothing is left to do.
    pd.testing.assert_frame_equal(experiments.grid(logged_run, cells, tmp_path), expected)
    check_nothing_was_lost_or_done_twice(tmp_path)


@pytest.mark.parametrize("name", experiments.names())
def test_split_seeds_give_the_numbers_of_the_whole(name, small, tmp_path):
    module, config = experiments.load(name), small(name, seeds=3)
    whole = module.run(config)
    split = experiments.grid(module.run, experiments.split_seeds(config, 2), tmp_path)
    # PyTorch's dropout draws for all models of a run together; nothing else does.
    ours, wanted = (
        alike(table[table.method != "dropout"])[list(whole.columns)] for table in (split, whole)
    )
    # Rounding only: with the seeds of another part every number would differ.
    pd.testing.assert_frame_equal(ours, wanted, rtol=2e-3, atol=1e-4, check_dtype=False)
    assert set(split.columns) == set(whole.columns)


@dataclasses.dataclass(frozen=True)
class Plain:
    x: float = 1.0
    pair: tuple[int, ...] = (1,)
    y: object = None


def plain_run(config, checkpoints):
    """Return one row, of kinds of values that a CSV file would not hand back."""
    if config.x < 0:
        raise ZeroDivisionError(config.x)
    row = {
        "arm": "a",
        "seed": 0,
        "step": 1,
        "third": config.x / 3,
        "word": "",
        "hole": float("nan"),
    }
    return pd.DataFrame([row | {"threads": torch.get_num_threads()}])


def test_a_grid_of_settings_has_a_column_for_each_that_differs(tmp_path):
    configs = experiments.variants(Plain(y="same"), x=[2.0, 1.0], pair=[(1,), (2, 3)])
    before = torch.get_num_threads()
    table = experiments.grid(plain_run, configs, tmp_path, threads=3)
    assert torch.get_num_threads() == before
    first = {"x": [2.0, 2.0, 1.0, 1.0], "pair": ["(1,)", "(2, 3)"] * 2, "arm": "a", "seed": 0}
    then = {"step": 1, "third": [2 / 3, 2 / 3, 1 / 3, 1 / 3], "word": "", "hole": float("nan")}
    expected = pd.DataFrame(first | then | {"threads": 3})
    pd.testing.assert_frame_equal(table, expected, check_exact=True)
    kept = [json.loads(file.read_text())["config"] for file in tmp_path.glob("*.json")]
    assert sorted((c["x"], c["pair"]) for c in kept) == [
        (1.0, [1]), (1.0, [2, 3]), (2.0, [1]), (2.0, [2, 3])
    ]  # fmt: skip


def test_more_cells_join_those_that_are_done(tmp_path, monkeypatch):
    ran = []

    def run(config, checkpoints):
        ran.append(config.x)
        return plain_run(config, checkpoints)

    monkeypatch.setattr(run, "__qualname__", "run")
    experiments.grid(run, [Plain(x=1.0)], tmp_path)
    table = experiments.grid(run, [Plain(x=2.0), Plain(x=1.0)], tmp_path)
    assert ran == [1.0, 2.0]
    assert table.x.tolist() == [2.0, 1.0]
    # Another function's cells are others.
    monkeypatch.setattr(run, "__qualname__", "other")
    experiments.grid(run, [Plain(x=1.0)], tmp_path)
    assert ran == [1.0, 2.0, 1.0]


def test_a_cell_that_fails_leaves_no_file_and_keeps_the_others(tmp_path):
    with pytest.raises(ZeroDivisionError):
        experiments.grid(plain_run, [Plain(), Plain(x=-1.0), Plain(x=3.0)], tmp_path)
    (kept,) = tmp_path.iterdir()
    assert json.loads(kept.read_text())["config"]["x"] == 1.0


def test_threads_of_one_process_take_turns(small, tmp_path):
    """A run seeds the process's global generator, so two at a time would draw from one another."""
    configs = experiments.split_seeds(small(seeds=3, steps=5), 3)
    run = experiments.load("dead_neurons").run
    with joblib.parallel_config("threading", n_jobs=3):
        table = experiments.grid(run, configs, tmp_path / "threads")
    expected = experiments.grid(run, configs, tmp_path / "one")
    pd.testing.assert_frame_equal(table, expected, check_exact=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f, small: experiments.grid(plain_run, [], f), "at least one"),
        (lambda f, small: experiments.grid(plain_run, [Plain(), small()], f), "one experiment"),
        (lambda f, small: experiments.grid(plain_run, [3], f), "dataclasses"),
        (lambda f, small: experiments.grid(plain_run, [Plain(), Plain()], f), "twice"),
        (lambda f, small: experiments.grid(plain_run, [Plain(y=len)], f), "numbers, words"),
        (lambda f, small: experiments.grid(plain_run, [Plain()], f, threads=0), "threads"),
        (
            lambda f, small: experiments.grid(plain_run, [small(seeds=4), small(seeds=(3, 4))], f),
            "seed 3 of the same setting twice",
        ),
        (lambda f, small: experiments.variants(Plain(), z=[1]), "'z' is no setting"),
        (lambda f, small: experiments.variants(Plain(), y="abc"), "list of values"),
        (lambda f, small: experiments.variants(Plain(), x=[]), "list of values"),
        (lambda f, small: experiments.split_seeds(small(), 0), "parts"),
        (lambda f, small: experiments.split_seeds(small(seeds=()), 1), "at least one"),
        (lambda f, small: experiments.split_seeds(small(seeds=(1, 1)), 1), "different"),
        (
            lambda f, small: experiments.split_seeds(small("plasticity", "tuned", seeds=2), 2),
            "tuning",
        ),
    ],
)
def test_bad_input_is_answered_before_anything_runs(call, words, small, tmp_path):
    with pytest.raises(ValueError, match=words):
        call(tmp_path, small)
    assert list(tmp_path.iterdir()) == []


def test_seeds_are_split_evenly_and_completely(small):
    for seeds in (1, 5, 8, (7, 2, 9)):
        for parts in range(1, 10):
            split = [config.seeds for config in experiments.split_seeds(small(seeds=seeds), parts)]
            whole = tuple(range(seeds)) if isinstance(seeds, int) else seeds
            assert sum(split, ()) == whole
            assert len(split) == min(parts, len(whole))
            assert max(map(len, split)) - min(map(len, split)) <= 1


@pytest.mark.slow
@pytest.mark.usefixtures("processes")
def test_a_split_run_is_the_run(small, tmp_path):
    config = small(steps=10, seeds=2)
    given = [f"--set={name}={getattr(config, name)}" for name in ("steps", "d", "samples")]
    command = ["run", "dead_neurons", "--device", "cpu", "--seeds", "2", *given]
    tables = []
    for more in ([], ["--jobs", "2"]):
        out = tmp_path / f"{len(more)}.csv"
        assert main([*command, *more, "--out", str(out)]) == 0
        tables.append(alike(read_record(out).table))
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)


def test_memory_is_that_of_the_process_not_of_the_one_that_started_it():
    large = torch.ones(100_000_000)  # 400 MB
    code = "from syre_helpers.experiments.record import peak_memory_mb; print(peak_memory_mb())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert peak_memory_mb() > 400 + 50
    assert 20 < float(done.stdout) < peak_memory_mb() - 200
    del large
