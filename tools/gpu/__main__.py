"""Do what fits a time budget on a GPU: `python -m tools.gpu --minutes 9 --out results/cuda`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.gpu.plan import ROOT, Part, parts
from tools.gpu.runner import Runner


def main(arguments: list[str] | None = None) -> int:
    """Read the command line; list the parts, or run those that fit; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="tools.gpu", description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0, help="time budget; default 9")
    parser.add_argument(
        "--out", type=Path, help="folder of results; default results/cuda, _build/gpu to rehearse"
    )
    parser.add_argument("--only", nargs="+", default=[], help="parts whose names hold these texts")
    parser.add_argument("--list", action="store_true", help="print the plan and do nothing")
    parser.add_argument(
        "--rehearse", action="store_true", help="on the CPU and tiny, to see that all parts work"
    )
    parser.add_argument("--archive", type=Path, help="a zip of all results, rewritten after parts")
    parser.add_argument("--again", action="store_true", help="do again what is done already")
    options = parser.parse_args(arguments)
    if not options.minutes > 0:
        parser.error(f"--minutes {options.minutes} must be above 0")
    plan = parts(rehearse=options.rehearse)
    chosen = [p for p in plan if not options.only or any(text in p.name for text in options.only)]
    if not chosen:
        parser.error(f"--only {options.only} is in no name; there are {[p.name for p in plan]}")
    if options.list:
        print(listing(chosen))
        return 0
    default = "_build/gpu" if options.rehearse else "results/cuda"
    out = (options.out or ROOT / default).resolve()
    return Runner(chosen, out, 60 * options.minutes, options.archive, options.again).run()


def listing(plan: list[Part]) -> str:
    """Return the plan as lines: name, estimated seconds, most seconds, and what a part does."""
    lines = [f"{p.name:34} {p.seconds:5.0f} s  at most {p.limit:4.0f} s  {p.what}" for p in plan]
    total = sum(p.seconds for p in plan)
    return "\n".join([*lines, f"{'together':34} {total:5.0f} s"])


if __name__ == "__main__":
    sys.exit(main())
