"""Make the virtual environment: `python3 tools/build/environment.py .venv book,test`.

Runs under the system's Python with nothing installed, so it uses the standard library only. uv
installs when it can be had, because it is ten times faster; pip is the fallback. Both are told the
same sources, those that pip is configured with on this machine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

MINIMUM = (3, 11)
TORCH_CPU = "https://download.pytorch.org/whl/cpu"
IMPORTED = "ipykernel.ipkernel, nbclient, seaborn, sklearn.datasets, stable_baselines3, torch.func"
# What pip calls a source, and what uv calls it.
SOURCES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
}


def main(venv: Path, extras: str) -> int:
    """Create `venv` where it is missing and install the package with `extras` into it."""
    if sys.version_info < MINIMUM:
        print(
            f"Python {MINIMUM[0]}.{MINIMUM[1]} or newer is needed, this is "
            f"{platform.python_version()}. Name another with `make PYTHON=python3.12 ...`."
        )
        return 1
    start = time.perf_counter()
    python = venv / "bin" / "python"
    # pip comes last, so its absence also shows an attempt that was cut off.
    if not python.with_name("pip").exists():
        print(f"[1/3] A virtual environment in {venv}", flush=True)
        create(venv, python)
    print("[2/3] Pinned dependencies and the package (a minute or two the first time)", flush=True)
    install(python, extras)
    print("[3/3] Python compiles what the chapters import, once", flush=True)
    # Otherwise the chapters that are executed first would be charged for it in the timings.
    subprocess.run([str(python), "-c", f"import {IMPORTED}"], check=True)
    print(f"The environment is ready ({time.perf_counter() - start:.0f} s).", flush=True)
    return 0


def create(venv: Path, python: Path) -> None:
    """Make an empty environment with pip in it."""
    # Debian ships Python without ensurepip (package python3-venv); then pip is fetched from PyPI.
    bundled = importlib.util.find_spec("ensurepip") is not None
    command = [sys.executable, "-m", "venv", str(venv)]
    subprocess.run(command if bundled else [*command, "--without-pip"], check=True)
    if bundled:
        return
    request = urllib.request.Request(
        "https://pypi.org/simple/pip/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        wheels = [f for f in json.load(answer)["files"] if f["filename"].endswith(".whl")]
    newest = max(wheels, key=lambda wheel: wheel["upload-time"])
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder, newest["filename"])
        with urllib.request.urlopen(newest["url"], timeout=60) as answer:
            wheel.write_bytes(answer.read())
        # A wheel can be run in place; the #sha256 makes pip check what was fetched.
        source = f"pip @ {wheel.as_uri()}#sha256={newest['hashes']['sha256']}"
        run = [str(python), f"{wheel}/pip", "install", "-q", source]
        subprocess.run(run, check=True)


def install(python: Path, extras: str) -> None:
    """Install the package in place, with everything at the versions of constraints.txt."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    sources = {name: configured(pip, name) for name in SOURCES}
    if wants_cpu_torch(sources):
        sources["extra-index-url"] = f"{sources['extra-index-url']} {TORCH_CPU}".strip()
    what = ["-c", "constraints.txt", "-e", f".[{extras}]"]
    environment = os.environ | {
        theirs: sources[ours] for ours, theirs in SOURCES.items() if sources[ours]
    }
    # Of several indexes take the best match, as pip does; the versions are pinned in any case.
    environment["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    uv = str(python.with_name("uv"))
    fetched = subprocess.run([*pip, "install", "-q", "uv>=0.5"], check=False).returncode == 0
    if fetched:
        command = [uv, "pip", "install", "--python", str(python), *what]
        if subprocess.run(command, env=environment, check=False).returncode == 0:
            return
        print("uv could not install everything; trying pip.", flush=True)
    for name, value in sources.items():
        if value:
            environment[f"PIP_{name.replace('-', '_').upper()}"] = value
    subprocess.run([*pip, "install", "-q", *what], env=environment, check=True)


def configured(pip: list[str], name: str) -> str:
    """Return pip's setting for a source, from the environment or its configuration."""
    value = os.environ.get(f"PIP_{name.replace('-', '_').upper()}", "")
    for section in ("install", "global"):
        if not value:
            command = [*pip, "config", "get", f"{section}.{name}"]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            value = answer.stdout if answer.returncode == 0 else ""
    return " ".join(value.split())


def wants_cpu_torch(sources: dict[str, str]) -> bool:
    """Test whether PyTorch's CPU index is of use here, and can be reached."""
    # PyPI's build for Linux brings several GB of CUDA with it, of no use without an NVIDIA GPU. A
    # machine with wheels of its own knows better, and without a network there is nothing to offer.
    if platform.system() != "Linux" or shutil.which("nvidia-smi") or sources["find-links"]:
        return False
    request = urllib.request.Request(f"{TORCH_CPU}/torch/", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=10):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"The environment could not be made: {error}", file=sys.stderr)
        sys.exit(1)
