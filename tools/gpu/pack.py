"""What a bare machine must be given to run `tools.gpu`, and whether it has all: a checked list.

    python -m tools.gpu.pack            fill .gpu/: wheels that are missing there, images, commit
    python -m tools.gpu.pack --check    on that machine: can all be imported, are images there?
    python -m tools.gpu.pack --measure  run the rehearsal and say what it imports

The machine has no network: it has Python 3.12, torch 2.11 and common packages. What is carried is
the working tree without its history, and the folder .gpu, which git ignores.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from syre_helpers._provenance import describe_versions, write_whole
from syre_helpers.data import cifar10_jpeg
from tools.gpu.plan import ROOT

PACKED = ROOT / ".gpu"
# What can be carried in all, code included.
LARGEST = 64 * 2**20
# Modules that are imported, and the packages that they belong to; from `--measure`.
IMPORTED = {
    "PIL": "pillow",
    "_pytest": "pytest",
    "dateutil": "python-dateutil",
    "iniconfig": "iniconfig",
    "lazy_loader": "lazy-loader",
    "mpmath": "mpmath",
    "numpy": "numpy",
    "packaging": "packaging",
    "pandas": "pandas",
    "pluggy": "pluggy",
    "pygments": "pygments",
    "pytest": "pytest",
    "sympy": "sympy",
    "torch": "torch",
    "torchgen": "torch",
    "tqdm": "tqdm",
    "triton": "triton",
    "typing_extensions": "typing-extensions",
}
# What pytest and torch load where it is installed, and do without elsewhere.
_PLUGINS = {
    "anyio", "execnet", "hypothesis", "platformdirs", "py", "pytest_timeout", "sortedcontainers",
    "tabulate", "wcwidth", "xdist",
}  # fmt: skip
# Of these, what a bare machine lacks: wheels are carried. Nothing at present: what draws, downloads
# and shows widgets is imported where it is used, and no part of the run does.
CARRIED: tuple[str, ...] = ()
_PROBE = """
import atexit, os, sys
def note():
    files = {n: getattr(m, "__file__", None) or "" for n, m in list(sys.modules.items())}
    names = {n.partition(".")[0] for n, f in files.items() if "site-packages" in f}
    with open(os.path.join(os.environ["SYRE_NOTED"], str(os.getpid())), "w") as out:
        out.write("\\n".join(sorted(names)))
atexit.register(note)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line; pack, check or measure."""
    parser = argparse.ArgumentParser(prog="tools.gpu.pack", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="see what is missing here")
    parser.add_argument("--measure", nargs="*", metavar="PART", help="rehearse, and see imports")
    parser.add_argument("--data", type=Path, help="folder of cifar10-jpeg.tar.xz")
    options = parser.parse_args(arguments)
    if options.measure is not None:
        names = imported_in_a_rehearsal(options.measure)
        print("\n".join(names))
        return int(not set(names) <= set(IMPORTED))
    return check() if options.check else pack(options.data)


def pack(data: Path | None) -> int:
    """Fill the folder that is carried, and print what it holds."""
    if PACKED.exists():
        shutil.rmtree(PACKED)
    commit = describe_versions(())["commit"]
    write_whole(PACKED / "commit", f"{commit}\n")
    if CARRIED:
        # For the machine's Python, whatever runs here.
        platform = ["--python-version", "3.12", "--platform", "manylinux_2_28_x86_64"]
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *platform]
        wheels = ["--only-binary", ":all:", "-d", str(PACKED / "wheels"), *CARRIED]
        subprocess.run([*command, *wheels], check=True)
    images = None if data is None else data / "cifar10-jpeg.tar.xz"
    if images is not None:
        shutil.copyfile(images, PACKED / images.name)
    sizes = {f.name: f.stat().st_size for f in PACKED.rglob("*") if f.is_file()}
    listing = ["git", "ls-files", "-z", "-co", "--exclude-standard"]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name.decode() for name in tracked.split(b"\0") if name]
    code = sum(file.stat().st_size for file in files if file.is_file())
    print(f"commit {commit}")
    print(f"working tree: {code / 2**20:.1f} MB")
    for name, size in sizes.items():
        print(f".gpu/{name}: {size / 2**20:.1f} MB")
    if images is None:
        print("no images: pass --data FOLDER, or name one by SYRE_DATA_DIR on the machine")
    if code + sum(sizes.values()) > LARGEST:
        print(f"together more than {LARGEST / 2**20:.0f} MB: too much to be carried")
        return 1
    return 0


def check() -> int:
    """Say what of the list cannot be imported here, and whether images are found."""
    missing = []
    for module, package in IMPORTED.items():
        try:
            importlib.import_module(module)
            print(f"{package} {metadata.version(package)}")
        except ImportError as error:
            missing.append(package)
            print(f"{package}: missing ({error})")
    try:
        print(f"images: {len(cifar10_jpeg(10, 10).y_train)} of them read")
    except Exception as error:
        missing.append("images")
        print(f"images: {error}")
    return int(bool(missing))


def imported_in_a_rehearsal(only: Sequence[str] = (), out: Path | None = None) -> list[str]:
    """Return the top names of all third-party modules that parts of a rehearsal import.

    Parameters
    ----------
    only : sequence of str
        Parts whose names hold these texts. Default: all.
    out : Path, optional
        Folder of the rehearsal's results. Default: none that stays.

    Returns
    -------
    list of str
        In the order of the alphabet, without what belongs to plugins of pytest.
    """
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder, "noted")
        noted.mkdir()
        Path(folder, "sitecustomize.py").write_text(_PROBE)
        command = [sys.executable, "-m", "tools.gpu", "--rehearse", "--minutes", "30"]
        command += ["--out", str(out or Path(folder, "out"))] + (["--only", *only] if only else [])
        path = os.pathsep.join([folder, str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": path, "SYRE_NOTED": str(noted)}
        subprocess.run(command, cwd=ROOT, env=environment, check=False)
        found = {name for file in noted.iterdir() for name in file.read_text().split()}
    # A name with an underscore belongs to the package that it was compiled for.
    return sorted(n for n in found - _PLUGINS if not n.startswith("_") or n in IMPORTED)


if __name__ == "__main__":
    sys.exit(main())
