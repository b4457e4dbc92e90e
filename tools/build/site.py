"""Build the site: `python -m tools.build.site [--jobs 2] [--strict] [trap/permutation ...]`.

Executes the chapters that changed, puts the source together and lets jupyter-book make the pages.
With chapters named, only those are executed and the others are shown as they last were. With
--strict every page is made anew and any warning, from Sphinx or from a chapter's cell, is an
error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tools.build import api, assemble, chapters, execute, files

# What the site was made from, the last time.
STATE = chapters.BUILD / "site.json"
EXTENSIONS = [
    Path(__file__).with_name(f"{name}.py")
    for name in (
        *("api", "bibliography", "head", "punctuation", "references", "terms"),
        "tidy_scripts",
    )
]


def main() -> int:
    """Read the command line and build."""
    parser = chapters.parser("Build the site.")
    parser.add_argument("--strict", action="store_true", help="a warning is an error")
    options = parser.parse_args()
    start = time.perf_counter()
    names = chapters.chapters()
    if not execute.execute(chapters.select(names, options.names), options.jobs, options.strict):
        print("The site was not built, because a chapter did not pass.")
        return 1
    assemble.assemble(names)
    page = chapters.HTML / "index.html"
    was = json.loads(STATE.read_text()) if STATE.exists() and page.exists() else {}
    now = state()
    if options.strict or was != now:
        print("Making the pages", flush=True)
        # Sphinx does not notice a changed style sheet, script or extension of ours by itself.
        anew = options.strict or was.get("static") != now["static"]
        if not make_pages(anew, options.strict):
            print("The site was not built: see jupyter-book's messages above.")
            return 1
        files.write(STATE, json.dumps(now))
    print(
        f"Done in {time.perf_counter() - start:.0f} s. The site is in {chapters.HTML}; "
        f"open file://{page} in a browser, or run `make serve`."
    )
    return 0


def state() -> dict[str, str]:
    """Return hashes of everything that the pages are made from."""
    # Without the pages that autosummary makes of the package while the site is built.
    made = chapters.SOURCE / "book" / api.FOLDER
    sources = sorted(f for f in chapters.SOURCE.rglob("*") if f.is_file() and f.parent != made)
    static = [file for file in sources if "_static" in file.parts]
    return {
        "package": files.digest(json.dumps(execute.package_hashes())),
        "pins": files.digest((chapters.ROOT / "constraints.txt").read_bytes()),
        "static": fingerprint([*static, *EXTENSIONS]),
        "pages": fingerprint([file for file in sources if file not in static]),
    }


def fingerprint(sources: list[Path]) -> str:
    """Return a hash of some files, their names and what is in them."""
    return files.digest(*(part for f in sources for part in (str(f).encode(), f.read_bytes())))


def make_pages(anew: bool, strict: bool) -> bool:
    """Let jupyter-book make the pages; return True where it did."""
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        *("build", str(chapters.SOURCE), "--path-output", str(chapters.ROOT)),
        *(["--all"] if anew else []),
        # Only together with --all: else what an earlier build warned of is forgotten.
        *(["-W", "-n", "--keep-going"] if strict else ["-q"]),
    ]
    # Colours are for a terminal, not for a log.
    plain = {} if sys.stdout.isatty() else {"NO_COLOR": "1"}
    extensions = {"PYTHONPATH": str(execute.TOP)}
    environment = os.environ | plain | extensions
    return subprocess.run(command, check=False, env=environment).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
