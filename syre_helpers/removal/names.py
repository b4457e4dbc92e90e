"""Names and fan-ins of parameters, the same whatever the model is wrapped in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from .._checks import check_function, check_model

Where = Callable[[str, Tensor], bool]
"""A filter of parameters: ``where(canonical_name, parameter)`` is true for those to treat."""

# What DistributedDataParallel, torch.compile, activation checkpoints and parametrizations insert
# into names.
_WRAPPERS = re.compile(r"(^|(?<=\.))(module|_orig_mod|_checkpoint_wrapped_module)\.")
_PARAMETRIZED = re.compile(r"parametrizations\.([^.]+)\.original(?=$|\d)")


def canonical_name(name: str) -> str:
    """Return a parameter's name without what wrappers and parametrizations insert.

    Parameters
    ----------
    name : str
        As ``model.named_parameters()`` gives it.

    Returns
    -------
    str
        The same for a model, wrapped or not.

    Examples
    --------
    >>> canonical_name("module._orig_mod.0.parametrizations.weight.original")
    '0.weight'
    """
    return _PARAMETRIZED.sub(r"\1", _WRAPPERS.sub("", name))


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the model's own parameters (as stored) by canonical name.

    Parameters
    ----------
    model : nn.Module
        Any model.

    Returns
    -------
    dict of str to nn.Parameter
        Tied ones once, under their first name.

    Raises
    ------
    TypeError
        If it is no model.
    ValueError
        If two parameters get the same canonical name, or the model is sharded in the old way, in
        which nothing is left of a parameter's shape.
    """
    check_model("model", model)
    named: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        if "_fsdp_wrapped_module." in name or "_flat_param" in name:
            raise ValueError(
                f"parameter {name!r} is flattened by FullyShardedDataParallel; shard the model "
                "with torch.distributed.fsdp.fully_shard instead"
            )
        canonical = canonical_name(name)
        if canonical in named:
            raise ValueError(
                f"two parameters of the model are called {canonical!r} once 'module.' and "
                "'_orig_mod.' are dropped; rename the submodule that bears such a name"
            )
        named[canonical] = parameter
    return named


def own_parametrizations(module: nn.Module) -> dict[str, Any]:
    """Return a module's own parametrizations by attribute, without those of what it wraps.

    PyTorch's ``is_parametrized`` is true, too, for wrappers that forward attributes (PEFT's).

    Parameters
    ----------
    module : nn.Module
        Any.

    Returns
    -------
    dict of str to torch.nn.utils.parametrize.ParametrizationList
        Empty where there is none.
    """
    own = module._modules.get("parametrizations")
    return dict(own.items()) if isinstance(own, nn.ModuleDict) else {}


def padding_rows(model: nn.Module) -> dict[str, int]:
    """Return the rows of embeddings that stand for padding and are promised to stay what they are.

    Parameters
    ----------
    model : nn.Module
        Any model.

    Returns
    -------
    dict of str to int
        ``padding_idx`` by the canonical name of the weight.
    """
    rows = {
        id(module.weight): module.padding_idx
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.padding_idx is not None
    }
    named = named_parameters(model)
    return {name: rows[id(p)] for name, p in named.items() if id(p) in rows}


def saved_names(scales: Mapping[str, float], saved: Mapping[str, float]) -> dict[str, str]:
    """Return the names that parameters had in a saved run, where they can be told.

    They can if as many were saved, and all lost or got one prefix, or have the same scales in the
    same order.

    Parameters
    ----------
    scales, saved : mapping of str to float
        Standard deviation of theta_0 by name, of the model and of the saved run.

    Returns
    -------
    dict of str to str
        Saved names by the model's names; empty if they cannot be told.
    """
    first = next(iter(scales))
    for name in saved:
        if first.endswith(f".{name}"):
            aliases = {n: n.removeprefix(first.removesuffix(name)) for n in scales}
        elif name.endswith(f".{first}"):
            aliases = {n: name.removesuffix(first) + n for n in scales}
        else:
            continue
        if set(aliases.values()) == set(saved):
            return aliases
    if list(scales.values()) == list(saved.values()):
        return dict(zip(scales, saved, strict=True))
    return {}


def select(named: Mapping[str, nn.Parameter], where: Where | None) -> dict[str, nn.Parameter]:
    """Return the parameters that a filter is true for.

    Parameters
    ----------
    named : mapping of str to nn.Parameter
        By canonical name.
    where : callable or None
        The filter; None keeps all.

    Returns
    -------
    dict of str to nn.Parameter
        At least one.

    Raises
    ------
    TypeError
        If the filter is no function.
    ValueError
        If there is none.
    """
    if where is not None:
        check_function("where", where)
    chosen = {name: p for name, p in named.items() if where is None or where(name, p)}
    if not chosen:
        raise ValueError(
            f"where selects no parameter (by default all that require a gradient); the model has "
            f"{sorted(named)}"
        )
    return chosen


def effective_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that the model computes with, by canonical name.

    For a model under ``Syre.parametrize`` these are ``theta + theta_0``; for any other they are its
    parameters. Symmetries and measures apply to these. Where a parametrization makes one tensor of
    several parameters, as weight_norm does, they are the parameters themselves.

    Parameters
    ----------
    model : nn.Module
        Any model.

    Returns
    -------
    dict of str to Tensor
        Detached tensors; those that are not parametrized share memory with the model.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> [(n, tuple(p.shape)) for n, p in effective_parameters(nn.Linear(2, 3)).items()]
    [('weight', (3, 2)), ('bias', (3,))]
    """
    check_model("model", model)
    effective: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        own: dict[str, Tensor] = dict(module.named_parameters(recurse=False))
        if isinstance(module, parametrize.ParametrizationList):
            own.pop("original", None)
        own |= {
            name: getattr(module, name)
            for name, made in own_parametrizations(module).items()
            if hasattr(made, "original")
        }
        effective |= {canonical_name(prefix + name): p.detach() for name, p in own.items()}
    # Tied weights appear once, under the name that the model gives them first.
    return {name: effective[name] for name in named_parameters(model)}
