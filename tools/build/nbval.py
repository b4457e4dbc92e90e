"""Run every chapter a second time: `python -m tools.build.nbval [trap/permutation ...]`.

nbval executes the copies that already hold outputs and compares, cell by cell, everything that is
text: what was printed, tables, verdicts, alt texts. A chapter that prints other numbers the second
time fails here. Cells that measure time carry the tag `nbval-ignore-output`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.build import chapters, execute


def main() -> int:
    """Read the command line, bring the executed copies up to date, and run nbval over them."""
    options = chapters.parser("Run the chapters again and compare.").parse_args()
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
        *("--nbval", "--nbval-current-env", f"--nbval-cell-timeout={execute.CELL_TIMEOUT}"),
        *("--nbval-sanitize-with", str(Path(__file__).with_name("sanitize.cfg"))),
        *("-n", str(options.jobs), "--dist", "loadfile", "--rootdir", str(chapters.ROOT)),
        *(str(execute.paths(name)[1]) for name in names),
    ]
    return subprocess.run(command, env=execute.environment(), cwd=chapters.ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
