"""Execute chapters as other processors would.

`python -m tools.emulate.other_cpus [--jobs 2] [trap/permutation ...]`

Sums over many numbers differ in the last digit from one kind of processor to the next, and training
makes large differences of small ones. A claim that holds on one machine alone is no claim. So every
chapter runs once for each set of instructions that this processor can be told to do without, to its
end, whatever fails on the way; and every cell that failed is named.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import nbformat

from tools.build import chapters, execute

# What PyTorch, its libraries for matrix products, and numpy go by.
OLD = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
}
PROCESSORS = {
    "as it is": {},
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "SSE4": OLD | {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "the least": OLD | {"MKL_CBWR": "COMPATIBLE"},
}
# Prints a number that differs where sums are rounded in another order.
PROBE = """
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
x, y = torch.randn(256, 64), torch.randint(10, (256,))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(20):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
print([p.double().sum().item() for p in model.parameters()])
"""


def environment(processor: str) -> dict[str, str]:
    """Return the environment in which a processor is asked to be another one."""
    # PyTorch's compiler takes what it finds in its cache, whatever processor that was made for.
    cache = chapters.BUILD / "other_cpus" / processor.replace(" ", "-")
    own = {"TORCHINDUCTOR_CACHE_DIR": str(cache)}
    return execute.environment() | PROCESSORS[processor] | own


def different() -> list[str]:
    """Return the processors that round differently here, this one first."""
    results: dict[str, str] = {}
    for processor in PROCESSORS:
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            env=environment(processor),
            capture_output=True,
            text=True,
            check=True,
        )
        twin = next((p for p, r in results.items() if r == done.stdout), None)
        if twin is not None:
            print(f"{processor}: rounds as {twin!r} does here, left out")
        else:
            results[processor] = done.stdout
    return list(results)


def failures(name: str) -> list[str]:
    """Execute a chapter in this process, to its end; return its failing cells and their errors."""
    notebook = nbformat.read(chapters.BOOK / f"{name}.ipynb", as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        execute.run_notebook(notebook, Path(folder), allow_errors=True)
    found = execute.outputs(notebook)
    return [f"{cell}: {shown(out)}" for cell, out in found if out.output_type == "error"]


def shown(error: nbformat.NotebookNode) -> str:
    """Return an error in a line, with the line of the cell where it arose."""
    trace = execute.ANSI.sub("", "\n".join(error.traceback)).splitlines()
    arrows = [line for line in trace if line.startswith("---")]
    where = [line.lstrip("-> ") for line in arrows if "> " in line]
    return " | ".join([f"{error.ename}: {error.evalue}".strip(": "), *where[:1]])


def look(name: str, processor: str) -> bool:
    """Execute a chapter aside and say what failed; return True where nothing did."""
    done = execute.run_module("tools.emulate.other_cpus", name, environment(processor))
    # An execution that broke off says so on stderr, whatever it had found by then.
    found = done.stdout if done.returncode == 0 else done.stderr
    lines = [f"    {line}" for line in found.strip().splitlines()]
    outcome = "FAILED" if lines else "holds"
    execute.say("\n".join([f"{name}, {processor}: {outcome}", *lines]))
    return not lines


def main() -> int:
    """Read the command line and execute."""
    parser = chapters.parser("Execute chapters as other processors would.")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(*failures(options.names[0]), sep="\n")
        return 0
    names = chapters.select(chapters.chapters(), options.names)
    pairs = list(product(names, different()))
    with ThreadPoolExecutor(options.jobs) as pool:
        held = list(pool.map(lambda pair: look(*pair), pairs))
    print(f"{sum(held)} of {len(held)} executions hold")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
