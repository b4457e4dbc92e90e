"""The tensors in the files that people keep; no code in them is run."""

from __future__ import annotations

import argparse
import io
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError,
)  # fmt: skip
_REMEDY = "save model.state_dict(), or safetensors"
_OWN = b"syre_helpers checkpoint "  # what `fit(..., checkpoint=)` writes, in front of an archive
_INDEX = ".index.json"  # of a model in several files, as Hugging Face's libraries write it
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_NO_WEIGHTS = ("optimizer", "scheduler", "rng_state", "training_args", "scaler", "random_states")
_OF_OPTIMIZERS = {"exp_avg", "exp_avg_sq", "momentum_buffer", "square_avg"}


def read_state(path: Path) -> tuple[dict[str, Tensor], list[tuple[str, str]]]:
    """Return the tensors of a model that a file or folder holds, and what was passed over.

    Parameters
    ----------
    path : Path
        As in `read_checkpoint`.

    Returns
    -------
    tuple of dict of str to Tensor and list of tuple of str
        The tensors by name, on the CPU; what else is there, and why it was not taken.

    Raises
    ------
    OSError
        If it is not there, or cannot be opened.
    ValueError
        If it holds no model, or cannot be read without running its code.
    """
    path = _weights_file(path)
    if path.name.endswith(_INDEX):
        return _shards(path), []
    content = load(path)
    states = dict(_states(content))
    if not states:
        raise ValueError(
            f"{str(path)!r} holds no named tensors of a model, so it is no checkpoint of one; "
            f"{_REMEDY}"
        )
    chosen = max(states, key=lambda key: sum(tensor.numel() for tensor in states[key].values()))
    others = [key for key in states if key != chosen and len(states[key]) > 1]
    left_out = []
    if others:
        names = ", ".join(repr(key) for key in others[:5])
        left_out.append(
            (
                f"{names} in the file",
                f"it holds several sets of tensors, and the largest, {chosen!r}, was taken; save "
                "another by itself to have it judged",
            )
        )
    return states[chosen], left_out


def load(path: Path) -> Any:
    """Return the content of a file of tensors; no code in it is run.

    Parameters
    ----------
    path : Path
        Of safetensors, of ``torch.save``, of `fit`, or a zip of Stable-Baselines3.

    Returns
    -------
    Any
        Tensors, numbers and words, in lists, tuples and mappings.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    OSError
        If it cannot be opened.
    ValueError
        If it cannot be read without running its code.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    with path.open("rb") as file:
        start = file.read(len(_OWN))
    if not start:
        raise ValueError(f"{str(path)!r} is no checkpoint: it is empty (0 bytes)")
    try:
        if path.suffix == ".safetensors":
            return _load_safetensors(path)
        if start != _OWN:
            return _unpickled(_policy(path) or path)
        kept = _unpickled(io.BytesIO(path.read_bytes().partition(b"\n")[2]))
    except _UNREADABLE as error:
        raise ValueError(_refusal(path, error)) from error
    return _of_fit(path, kept)


def _weights_file(path: Path) -> Path:
    """Return the file in a folder that holds the weights, or the file itself."""
    if not path.is_dir():
        return path
    names = sorted(one.name for one in path.iterdir())
    found = [name for name in names if name.endswith(_INDEX)]
    if not found:
        found = [
            name for name in names if name.endswith(_WEIGHTS) and not name.startswith(_NO_WEIGHTS)
        ]
    if len(found) == 1:
        return path / found[0]
    inside = found or names
    listed = ", ".join(inside[:8]) + (", ..." if len(inside) > 8 else "")
    raise ValueError(
        f"{str(path)!r} is a folder with {'several files' if found else 'no file'} of weights in "
        f"it; name one file, or the folder of one checkpoint (there: {listed or 'nothing'})"
    )


def _shards(index: Path) -> dict[str, Tensor]:
    """Return the tensors of a model that is kept in several files, as an index lists them."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(places.values()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{str(index)!r} is no checkpoint: no index with a weight_map") from error
    state: dict[str, Tensor] = {}
    for name in files:
        part = index.parent / Path(name).name  # beside the index, and nowhere else
        if not part.exists():
            raise FileNotFoundError(f"{str(index)!r} names {name!r}, which is not beside it")
        state |= dict(_states(load(part))).get("", {})
    missing = [name for name in places if name not in state]
    if missing:
        raise ValueError(f"{str(index)!r} names {missing[0]!r}, which is in none of its files")
    return {name: state[name] for name in places}


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ValueError("it takes the package safetensors; pip install safetensors") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError("it is cut off or damaged") from error


def _unpickled(file: Path | io.BytesIO) -> Any:
    """Return the tensors, plain values, NumPy's numbers and parsed arguments of a torch.save."""
    with warnings.catch_warnings(), _harmless():
        warnings.simplefilter("ignore")  # of a pickle's version, as if it could be read
        return torch.load(file, map_location="cpu", weights_only=True)


def _harmless() -> AbstractContextManager[Any]:
    """Return a context in which classes that hold values and run nothing may be read."""
    allow = getattr(torch.serialization, "safe_globals", None)  # from PyTorch 2.5 on
    if allow is None:
        return nullcontext()
    core = getattr(np, "_core", None) or np.core
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, bool)]
    return allow([argparse.Namespace, core.multiarray.scalar, np.dtype, *kinds])


def _policy(path: Path) -> io.BytesIO | None:
    """Return the weights in a zip of Stable-Baselines3; None for any other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = "policy.pth" in archive.namelist()
            return io.BytesIO(archive.read("policy.pth")) if inside else None
    except zipfile.BadZipFile:
        return None


def _of_fit(path: Path, content: Any) -> Any:
    """Return the state of the model that `fit` kept; ValueError where it kept many side by side."""
    if "model" not in content:
        raise ValueError(
            f"{str(path)!r} is no checkpoint of one model: it holds many side by side, as fit_many "
            "keeps them; call fit_many again to go on, and diagnose what it returns"
        )
    return {"model": content["model"]}


def _refusal(path: Path, error: Exception) -> str:
    words = str(error)
    unknown = re.search(r"GLOBAL ([\w.]+)", words)
    if "TorchScript" in words:
        why = "it is a TorchScript program"
    elif unknown is not None:
        why = f"it holds a {unknown[1]}, which takes code to read"
    elif zipfile.is_zipfile(path) or isinstance(error, pickle.UnpicklingError | LookupError):
        why = "torch.save did not write it, or it holds more than tensors"
    elif "PytorchStreamReader" in words:
        why = "it is cut off or damaged"
    else:
        why = " ".join(words.split())[:200] or "it ends too early"
    said = f"{str(path)!r} is no checkpoint that can be read without running its code ({why}); "
    return said + _REMEDY


def _states(content: Any, key: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every mapping of tensors in a file, but for optimizers', by its place; outer first."""
    if not isinstance(content, Mapping) or {"state", "param_groups"} <= content.keys():
        return
    own = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if own and not own.keys() & _OF_OPTIMIZERS:
        yield key, own
    for name, value in content.items():
        if "optimizer" not in str(name):
            yield from _states(value, f"{key}.{name}" if key else str(name))
