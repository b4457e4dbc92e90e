"""Every way through the package on a device, small: `python -m tools.gpu.smoke --device cuda`.

Each check compares with the CPU or with another way to the same. One that fails does not end the
rest. After each, ``smoke.csv`` is written anew.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import syre_helpers as sh
from syre_helpers._provenance import write_whole
from tools.gpu.checks import CHECKS, Check


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="tools.gpu.smoke", description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True, help="folder of smoke.csv")
    options = parser.parse_args(arguments)
    print(sh.pick_device(options.device))
    rows = []
    for check in CHECKS:
        begin = time.perf_counter()
        words = _outcome(check, options.device)
        seconds = round(time.perf_counter() - begin, 2)
        name = check.__name__.replace("_", " ")
        rows.append({"check": name, "outcome": words, "seconds": seconds})
        print(f"{name}: {words} ({seconds} s)", flush=True)
        write_whole(options.out / "smoke.csv", _table(rows))
    failed = sum(row["outcome"] != "ok" for row in rows)
    print(f"{len(rows) - failed} passed, {failed} failed")
    return int(failed > 0)


def _outcome(check: Check, device: str) -> str:
    """Return "ok", or the first line of what went wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(device)
    except Exception as error:  # the next check says something else
        first = (str(error).strip() or "no words").partition("\n")[0]
        return f"{type(error).__name__}: {first}"
    return "ok"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO()
    lines = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    lines.writeheader()
    lines.writerows(rows)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
