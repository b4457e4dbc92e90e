"""A chapter as other processors round it."""

import subprocess

from small_book import notebook, save
from tools.emulate import other_cpus


def test_every_cell_that_fails_elsewhere_is_named(book):
    cells = ("x = 1",), ("y = 2\nassert x > 5, 'in every seed'",), ("assert y == 2",), ("1 / 0",)
    save("trap/one", notebook("# One\n\nWhy?", *cells))
    assert other_cpus.failures("trap/one") == [
        "code cell 2: AssertionError: in every seed | 2 assert x > 5, 'in every seed'",
        "code cell 4: ZeroDivisionError: division by zero | 1 1 / 0",
    ]
    assert other_cpus.failures("trap/two") == []


def test_processors_that_round_alike_are_run_once(monkeypatch, capsys):
    def probe(command, env, **options):
        rounding = env.get("MKL_CBWR", env.get("ATEN_CPU_CAPABILITY", "own"))
        return subprocess.CompletedProcess(command, 0, {"default": "own"}.get(rounding, rounding))

    for name in other_cpus.PROCESSORS["AVX2"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(other_cpus.subprocess, "run", probe)
    assert other_cpus.different() == ["as it is", "AVX2", "the least"]
    assert "SSE4: rounds as 'as it is' does here" in capsys.readouterr().out
