"""The harness times in turns, and its command line writes a whole table with its provenance."""

import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch


def test_all_forms_take_turns_in_new_orders(harness):
    begun = []

    def clock(work):
        begun.append(work)
        return len(begun)

    times = harness.in_turns({name: name for name in "abc"}, clock, seconds=0.0, fewest=5)
    rounds = [tuple(begun[k : k + 3]) for k in range(0, 15, 3)]
    assert all(set(order) == set("abc") for order in rounds)
    assert len(set(rounds)) > 1, "a new order in each"
    assert times["a"] == [1 + begun.index("a", 3 * k) for k in range(5)]


def test_a_ratio_compares_within_a_round(harness):
    slow, fast = [10.0, 30.0, 20.0], [5.0, 15.0, 10.0]
    assert set(harness.ratios(slow, fast).values()) == {2.0}
    assert harness.spread("x", slow) == {"x": 20.0, "x_low": 10.0, "x_high": 30.0}


def test_tensors_are_counted_once(harness):
    sparse = torch.eye(2).to_sparse()  # has no storage of its own
    before = harness.held_bytes()
    held = torch.ones(1000)
    views = [held[:10], held.reshape(10, 100)]
    assert harness.held_bytes() - before == 4000
    del held, views, sparse


@pytest.mark.parametrize("form", ["attach", "attach, computed", "parametrize", "penalty"])
def test_forms_of_syre_pull_alike(harness, form):
    """One step of plain gradient descent: the decay is that of the penalty, on every route."""
    moved = {}
    for name in (form, "no decay"):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        x, y = torch.eye(3), torch.tensor([0, 1, 0])
        made = harness.Training(
            name, model, x, y, lambda p, decay: torch.optim.SGD(p, lr=0.1, weight_decay=decay)
        )
        made.step()
        moved[name] = model.weight.detach() + 0  # the effective weight where it is parametrized
    torch.manual_seed(0)
    start = torch.nn.Linear(3, 2).weight.detach()
    syre = harness.sh.Syre(harness.DECAY, harness.SIGMA_RATIO)
    pull = 0.1 * harness.DECAY * (start - syre.bias("weight", start))
    torch.testing.assert_close(moved["no decay"] - moved[form], pull, atol=2e-4, rtol=0.02)


@dataclass(frozen=True)
class Settings:
    seconds: float = 9.0
    size: int = 1
    threads: int = 1
    device: str = "cpu"


@pytest.fixture
def toy(monkeypatch):
    """Return a function that runs a toy program from the command line."""
    toy = SimpleNamespace(
        __doc__="Toys.\n\nMore.",
        __file__="benchmarks/toy.py",
        FULL=Settings(),
        QUICK=Settings(size=0),
        CONSTANTS={"kind": "toy"},
        measure=lambda settings: [
            {"form": "a, b", "ms": settings.seconds, "held": None, "rounds": 3},
            {"form": "c", "ms": 0.25, "held": 1.5, "rounds": 3},
        ],
        report=lambda rows: f"{len(rows)} rows",
    )

    def run(harness, *arguments):
        monkeypatch.setattr(sys, "argv", ["toy.py", *map(str, arguments)])
        threads = torch.get_num_threads()
        try:
            return harness.run(toy)
        finally:
            torch.set_num_threads(threads)

    return run


def test_a_run_prints_and_writes_both_files(harness, toy, tmp_path, capsys):
    assert toy(harness, "--quick", "--seconds", 0.5, "--out", tmp_path / "new") == 0
    assert "2 rows" in capsys.readouterr().out
    rows, facts = harness.read(tmp_path / "new", "toy")
    assert rows == [
        {"form": "a, b", "ms": 0.5, "held": None, "rounds": 3},
        {"form": "c", "ms": 0.25, "held": 1.5, "rounds": 3},
    ]
    assert (facts["experiment"], facts["preset"]) == ("toy", "quick")
    assert facts["command"] == "python benchmarks/toy.py --quick --seconds 0.5"
    assert facts["settings"] == {
        "seconds": 0.5, "size": 0, "threads": 1, "device": "cpu", "kind": "toy",
    }  # fmt: skip
    assert set(facts) >= {"date", "machine", "seconds", "versions"}
    assert sorted(f.name for f in (tmp_path / "new").iterdir()) == ["toy.csv", "toy.json"]


def test_a_quick_run_writes_nothing_by_itself(harness, toy, monkeypatch):
    monkeypatch.setattr(harness, "write", None)
    assert toy(harness, "--quick") == 0


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("--device", "abacus", "--device: 'abacus' is no device"),
        ("--out", __file__, "cannot be written"),
    ],
)
def test_bad_arguments_are_answered_before_anything_is_timed(
    harness, toy, capsys, argument, value, words
):
    with pytest.raises(SystemExit, match="2"):
        toy(harness, "--quick", argument, value)
    assert words in capsys.readouterr().err
