"""Check what Binder would build from the last commit: `python -m tools.emulate.binder`.

Two questions, neither of which needs Docker. Does repo2docker, in an environment of its own, take
environment.yml, with its Python, and copy the repository before it installs from it? And would pip,
told what environment.yml tells it, choose PyTorch's build for CPUs, and nothing of CUDA? The second
one asks the package indexes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import yaml

from tools.build import chapters

COPY, INSTALL = ("src/ ${REPO_DIR}/", 'env update -p ${NB_PYTHON_PREFIX} --file "environment.yml"')
GPU = re.compile(r"nvidia-|cuda-|triton|cupti")


def main() -> int:
    """Ask both questions and say what was found."""
    chapters.BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chapters.BUILD) as folder:
        repository = Path(folder, "repository")
        subprocess.run(["git", "clone", "-q", str(chapters.ROOT), str(repository)], check=True)
        text = (repository / "environment.yml").read_text()
        python, lines = asked_for(text)
        problems = judged(dockerfile(Path(folder, "venv"), repository), python)
        print("repo2docker:", *(problems or [f"takes Python {python} and environment.yml"]))
        chosen, error = resolved(repository, python, lines)
        wrong = [error] if error else too_much(chosen)
        print("pip:", *(wrong or [f"{len(chosen)} packages, {torch_of(chosen)}, no CUDA"]))
    return 1 if problems or wrong else 0


def asked_for(environment: str) -> tuple[str, list[str]]:
    """Return the version of Python and the lines for pip that environment.yml holds."""
    listed = yaml.safe_load(environment)["dependencies"]
    (python,) = [d for d in listed if str(d).startswith("python=")]
    (pip,) = [d["pip"] for d in listed if isinstance(d, dict)]
    return python.removeprefix("python="), pip


def dockerfile(folder: Path, repository: Path) -> str:
    """Return repo2docker's words on a repository, and the Dockerfile that it would build."""
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "pip"), "install", "-q", "jupyter-repo2docker"]
    subprocess.run(pip, check=True)
    command = [str(folder / "bin" / "repo2docker"), "--no-build", "--debug"]
    done = subprocess.run([*command, str(repository)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"repo2docker failed:\n{done.stderr[-3000:]}")
    return done.stderr + done.stdout


def judged(text: str, python: str) -> list[str]:
    """Return the faults of a Dockerfile and of repo2docker's words on it."""
    problems = []
    if f"Building conda environment for python={python}\n" not in text:
        problems.append(f"does not take Python {python}")
    if INSTALL not in text:
        problems.append("does not install from environment.yml")
    elif COPY not in text or text.index(COPY) > text.index(INSTALL):
        problems.append("installs before the repository is there")
    return problems


def resolved(repository: Path, python: str, lines: list[str]) -> tuple[list[str], str]:
    """Return the packages that pip would choose, as `torch==2.0+cpu`, or why that is not known."""
    # conda hands the lines to pip in a file beside environment.yml.
    listed = repository / "for-pip.txt"
    listed.write_text("\n".join(lines) + "\n")
    # uv reads a few lines of metadata where pip would fetch whole wheels; told so, it chooses as
    # pip does, the best version of all indexes.
    command = [
        *(str(Path(sys.executable).with_name("uv")), "pip", "compile", "-q"),
        *("--python-version", python, "--python-platform", "x86_64-manylinux_2_28"),
        *("--index-strategy", "unsafe-best-match"),
        *("--no-header", "--no-annotate", listed.name),
    ]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode:
        return ([], f"what it would choose is not known: {done.stderr.strip()[-1000:]}")
    return [line for line in done.stdout.splitlines() if "==" in line], ""


def torch_of(chosen: list[str]) -> str:
    """Return the line that names PyTorch."""
    return next((line for line in chosen if line.startswith("torch==")), "no PyTorch")


def too_much(chosen: list[str]) -> list[str]:
    """Return the chosen packages that are meant for a GPU."""
    wrong = [line for line in chosen if GPU.match(line)]
    if not torch_of(chosen).endswith("+cpu"):
        wrong.insert(0, torch_of(chosen))
    return [f"not for a CPU alone: {line}" for line in wrong]


if __name__ == "__main__":
    sys.exit(main())
