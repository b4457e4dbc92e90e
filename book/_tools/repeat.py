"""Run every chapter a second time under nbval: `python repeat.py [trap/permutation ...]`.

nbval executes the copies that already hold outputs and compares, cell by cell, everything that is
text: what was printed, tables, verdicts, alt texts. A chapter that prints other numbers the second
time fails here. Cells that measure time carry the tag `nbval-ignore-output`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import chapters
import execute


def main() -> int:
    """Read the command line, bring the executed copies up to date, and run nbval over them."""
    parser = argparse.ArgumentParser(
        description="Run the chapters again and compare."
    )
    parser.add_argument(
        "names",
        nargs="*",
        help="chapters as trap/permutation; all when left out",
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="how many at a time"
    )
    options = parser.parse_args()
    names = chapters.select(chapters.chapters(), options.names)
    if not names:
        print("No chapters to run under nbval yet.")
        return 0
    if not execute.execute(names, options.jobs):
        return 1
    command = [
        *(sys.executable, "-m", "pytest"),
        # The package's own settings (doctests, warnings as errors) are not meant for notebooks.
        *("-o", "addopts=", "-o", "filterwarnings=default"),
        *(
            "--nbval",
            "--nbval-current-env",
            f"--nbval-cell-timeout={execute.CELL_TIMEOUT}",
        ),
        *(
            "--nbval-sanitize-with",
            str(Path(__file__).with_name("sanitize.cfg")),
        ),
        *(
            "-n",
            str(options.jobs),
            "--dist",
            "loadfile",
            "--rootdir",
            str(chapters.ROOT),
        ),
        *(str(execute.paths(name)[1]) for name in names),
    ]
    return subprocess.run(
        command, env=execute.environment(), cwd=chapters.ROOT
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
