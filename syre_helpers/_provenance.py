"""Where a result comes from: machine, versions, commit; and files that are whole or not there.

Needs torch and the standard library only, and belongs to the ground floor of the package.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from . import __version__

# Arguments of the command lines whose values are paths.
_PATHS = ("--out", "--checkpoints")


def write_whole(path: Path, data: str | bytes | Callable[[Path], object]) -> None:
    """Write a file under a temporary name and rename it: the file is there whole, or not at all.

    When writing fails, the temporary file is removed, and a file of that name stays as it was.

    Parameters
    ----------
    path : Path
        The file; one that exists is replaced. Missing folders are made.
    data : str, bytes or callable
        The content. A callable is given the temporary path and writes there:
        ``lambda part: torch.save(state, part)``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "deep" / "state.pt"
    ...     write_whole(file, lambda part: torch.save({"step": 3}, part))
    ...     torch.load(file), len(list(file.parent.iterdir()))
    ({'step': 3}, 1)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: a worker that was given up for lost may still be writing.
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        if callable(data):
            data(part)
        else:
            part.write_bytes(data.encode() if isinstance(data, str) else data)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def check_writable(argument: str, path: Path) -> None:
    """Raise ValueError unless a file can be written at a path; missing folders are made.

    Parameters
    ----------
    argument : str
        The name of the argument that holds the path, for the message.
    path : Path
        The file that is to be written later.

    Raises
    ------
    ValueError
        If the path is a folder, or its folder cannot be made or written to.
    """
    if path.is_dir():
        raise ValueError(f"{argument}={str(path)!r} is a folder; name a file")
    probe = path.with_name(f".{path.name}.{uuid4().hex}.probe")
    try:
        write_whole(probe, b"")
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"{argument}={str(path)!r} cannot be written ({error.strerror}); name another place"
        ) from error


def describe_machine(device: str | torch.device = "cpu") -> dict[str, Any]:
    """Return the description of this machine that stands beside every result.

    Parameters
    ----------
    device : str or torch.device
        Where the result was computed. Default "cpu".

    Returns
    -------
    dict
        ``cpu`` (the processor's name), ``cores``, ``threads`` (PyTorch's), ``system``, and
        ``device`` (the GPU's name, or as "cpu, x86_64, 2 cores").

    Examples
    --------
    >>> list(describe_machine())
    ['cpu', 'cores', 'threads', 'system', 'device']
    """
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        cpu = next(iter(re.findall(r"model name\s*:\s*(.+)", cpuinfo.read_text())), cpu)
    cores, device = os.cpu_count(), torch.device(device)
    on_cuda = device.type == "cuda"
    return {
        "cpu": cpu,
        "cores": cores,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device)
        if on_cuda
        else f"{device.type}, {platform.machine()}, {cores} cores",
    }


def describe_versions(packages: Sequence[str] = ("torch", "numpy")) -> dict[str, str | None]:
    """Return the versions of Python, of some packages and of the code of this one.

    Parameters
    ----------
    packages : sequence of str
        Names of installed packages. Default torch and numpy.

    Returns
    -------
    dict
        The versions by name; ``syre_helpers`` and ``commit`` come last. The commit ends in
        ``-dirty`` where files differ from it. Where the package is no git checkout it is what the
        environment variable ``SYRE_COMMIT`` says, or None.

    Examples
    --------
    >>> list(describe_versions())
    ['python', 'torch', 'numpy', 'syre_helpers', 'commit']
    """
    versions: dict[str, str | None] = {"python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in packages}
    # Not that of the metadata: in a checkout it is as old as the installation.
    return versions | {"syre_helpers": __version__, "commit": _commit()}


def describe_command(program: str, arguments: Sequence[str]) -> str:
    """Return a command line without the paths of files, which are this machine's own.

    Parameters
    ----------
    program : str
        What was called, as ``python -m syre_helpers``.
    arguments : sequence of str
        All arguments; ``--out`` and ``--checkpoints`` are left out, with their values.

    Returns
    -------
    str
        The command line.

    Examples
    --------
    >>> describe_command("python -m syre_helpers", ["list", "--out", "x.csv", "--seeds", "3"])
    'python -m syre_helpers list --seeds 3'
    """
    kept: list[str] = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        if before not in _PATHS and word.partition("=")[0] not in _PATHS:
            kept.append(word)
    return " ".join([program, *kept])


def peak_memory_mb() -> float:
    """Return the largest resident size of this process so far, in megabytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        # What `getrusage` says begins, on Linux, with the size of the process that started this.
        if line.startswith("VmHWM:"):
            peak = int(line.split()[1])
    # Linux counts in KB, macOS in bytes.
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def _commit() -> str | None:
    """Return the commit of the checkout that this file belongs to, or None."""
    here = Path(__file__)
    # An installed package may lie inside some other project's checkout.
    questions = (
        ["ls-files", "--error-unmatch", here.name],
        ["describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"],
    )
    answer = ""
    try:
        for question in questions:
            command = ["git", "-C", str(here.parent), *question]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        # A copy without its history may be told what it is a copy of.
        return os.environ.get("SYRE_COMMIT")
    return answer.strip()
