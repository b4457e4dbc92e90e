"""Names and fan-ins of parameters, the same whatever the model is wrapped in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

# What DistributedDataParallel, torch.compile, activation checkpoints and parametrizations insert
# into names.
_WRAPPERS = re.compile(r"(^|(?<=\.))(module|_orig_mod|_checkpoint_wrapped_module)\.")
_PARAMETRIZED = re.compile(r"parametrizations\.([^.]+)\.original(?=$|\d)")


def canonical_name(name: str) -> str:
    """Return a parameter's name without what wrappers and parametrizations insert.

    Examples
    --------
    >>> canonical_name("module._orig_mod.0.parametrizations.weight.original")
    '0.weight'
    """
    return _PARAMETRIZED.sub(r"\1", _WRAPPERS.sub("", name))


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the model's own parameters (as stored) by canonical name.

    Raises
    ------
    ValueError
        If two parameters get the same canonical name, or the model is sharded in the old way, in
        which nothing is left of a parameter's shape.
    """
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


def effective_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Return what the model computes with, by canonical name.

    For a model under ``Syre.parametrize`` these are ``theta + theta_0``; for any other they are its
    parameters. Symmetries and measures apply to these.

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
    effective: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList):
            continue
        prefix = f"{path}." if path else ""
        own: dict[str, Tensor] = dict(module.named_parameters(recurse=False))
        if parametrize.is_parametrized(module):
            own |= {name: getattr(module, name) for name in module.parametrizations}
        effective |= {canonical_name(prefix + name): p.detach() for name, p in own.items()}
    # Tied weights appear once, under the name that the model gives them first.
    return {name: effective[name] for name in named_parameters(model)}


def fan_ins(shapes: Mapping[str, torch.Size]) -> dict[str, int]:
    """Return the fan-in that sets the scale of each parameter's ``theta_0``.

    A tensor of two or more axes has the product of all but the first; a bias has that of the
    weight beside it; any other vector has its length; a scalar has 1.

    Examples
    --------
    >>> import torch
    >>> fan_ins(
    ...     {"0.weight": torch.Size([8, 3, 5, 5]), "0.bias": torch.Size([8]), "u": torch.Size([4])}
    ... )
    {'0.weight': 75, '0.bias': 75, 'u': 4}
    """
    own = {
        n: math.prod(shape[1:]) if len(shape) > 1 else math.prod(shape)
        for n, shape in shapes.items()
    }
    owners: dict[str, int] = {}
    for name, shape in shapes.items():
        if len(shape) > 1 and "." in name:
            owners.setdefault(name.rpartition(".")[0], own[name])
    return {
        name: own[name] if len(shape) > 1 else owners.get(name.rpartition(".")[0], own[name])
        for name, shape in shapes.items()
    }
