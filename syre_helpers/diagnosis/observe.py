"""One forward and one backward pass of a model, which is left as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..removal.names import canonical_name, named_parameters
from .features import Features, InputRank, Recorder, recorded
from .units import UnitClass

Loss = Callable[[Any, Any], Tensor]
_LEFT_OF_START = 0.05  # of BatchNorm's running statistics: reached after 29 batches


@dataclass
class Observed:
    """What a run of the model showed.

    Parameters
    ----------
    features : list of Features
        One per class; None where they could not be recorded.
    gradient : dict of str to Tensor, optional
        Of the loss, by canonical name; None without a loss.
    outputs : int, optional
        Size of the output's last axis.
    targets, labels : bool
        Whether there are targets, and whether they are classes.
    inputs : dict of str to float
        Rank of what each module reads that makes units of a class, and reads those of none.
    several : int
        Number of tensors that the model returns side by side.
    distinct : float
        Share of the samples that differ from all others before them.
    tokens : float
        Where all inputs are whole numbers, how many of them differ, plus the places that they can
        have in a sample; infinite for other inputs.
    left_out : list of tuple of str
        What could not be done, and why.
    """

    features: list[Features | None]
    gradient: dict[str, Tensor] | None = None
    outputs: int | None = None
    targets: bool = False
    labels: bool = False
    inputs: dict[str, float] = field(default_factory=dict)
    several: int = 1
    distinct: float = 1.0
    tokens: float = math.inf
    left_out: list[tuple[str, str]] = field(default_factory=list)


def inputs_of(batch: Any, loss: Loss | None) -> Any:
    """Return the model's inputs: the batch, or its first part where a loss is given."""
    if loss is None or isinstance(batch, Mapping):
        return batch
    return batch[0]


def check_batch(batch: Any, loss: Loss | None) -> None:
    """Raise an error unless a batch is a tensor, a tuple or a mapping, and is not empty.

    Parameters
    ----------
    batch : Any
        As given to `diagnose`.
    loss : callable or None
        If given, a batch that is no mapping must be a pair.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If it is empty, has NaN in it, or is no pair though a loss is given.
    """
    if not isinstance(batch, Tensor | tuple | list | Mapping):
        raise TypeError(
            f"batch is a {type(batch).__name__}; pass a tensor, a tuple of the model's arguments, "
            "a mapping of them by name, or (inputs, targets) together with loss=..."
        )
    if loss is not None and not isinstance(batch, Mapping) and not _is_pair(batch):
        raise ValueError("with loss=..., batch must be a pair (inputs, targets) or a mapping")
    for tensor in _tensors(batch):
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            raise ValueError(
                f"batch has NaN in it: in a tensor of shape {tuple(tensor.shape)}; pass samples "
                "that the model can compute with"
            )
        if tensor.ndim and not tensor.numel():
            raise ValueError(
                f"batch is empty: a tensor of it has shape {tuple(tensor.shape)}; pass at least "
                "one sample, better a few hundred"
            )


def observe(
    model: nn.Module, classes: Sequence[UnitClass], batch: Any, loss: Loss | None
) -> Observed:
    """Run a model on a batch, and record its features and the gradient of its loss.

    Parameters
    ----------
    model : nn.Module
        Run in evaluation mode, and not compiled, but for a BatchNorm whose running statistics are
        still those that it began with; parameters, gradients, buffers, modes and random state are
        as before afterwards.
    classes : sequence of UnitClass
        What to record.
    batch : Any
        As given to `diagnose`.
    loss : callable, optional
        ``loss(output, targets)``; for a mapping ``loss(output, batch)``. Default: the ``loss`` of
        the output, if it has one.

    Returns
    -------
    Observed
        In parts, if the model or its loss could not be computed.
    """
    modules = {canonical_name(f"{name}.")[:-1]: m for name, m in model.named_modules() if name}
    recorders = [Recorder(one, modules) for one in classes]
    first = [InputRank(name, modules[name]) for name in _first(classes) & modules.keys()]
    seen = Observed([None] * len(classes))
    try:
        with _as_it_was(model), torch.enable_grad():
            inputs = inputs_of(batch, loss)
            seen.distinct, seen.tokens = _distinct(inputs)
            output = _call(model, inputs)
            seen.features = recorded(recorders)
            _leave_out_overflow(seen, classes)
            seen.inputs = {one.name: one.rank for one in first}
            _of_output(seen, output, batch, loss)
            value = _loss(output, batch, loss)
            if value is not None:
                seen.gradient = _gradient(model, value, seen)
    except Exception as error:  # whatever a stranger's model raises; the weights are still there
        what = "the forward pass" if seen.outputs is None else "the gradient"
        seen.left_out.append((what, f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"))
        if seen.outputs is None:
            seen.features = [None] * len(classes)
    finally:
        for recorder in recorders:
            recorder.remove()
        for hook in first:
            hook.remove()
    return seen


def _leave_out_overflow(seen: Observed, classes: Sequence[UnitClass]) -> None:
    """Note the classes whose features are not finite: nothing can be told from them."""
    for number, (units, one) in enumerate(zip(classes, seen.features, strict=True)):
        if one is not None and not bool(one.values.isfinite().all()):
            seen.features[number] = None
            what = f"features of {units.name}"
            seen.left_out.append((what, "they are NaN or infinite on this batch"))


def _first(classes: Sequence[UnitClass]) -> set[str]:
    """Return the names of modules that make units, and read those of no class."""
    parts = [part for units in classes for part in units.parts]
    made, read = (
        {part.tensor.rpartition(".")[0] for part in parts if part.role == role}
        for role in ("incoming", "outgoing")
    )
    return made - read


def _call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def _of_output(seen: Observed, output: Any, batch: Any, loss: Loss | None) -> None:
    """Note the number of outputs, and whether the targets are classes."""
    first = next(_tensors(_logits(output)), None)
    seen.outputs = 0 if first is None or not first.ndim else first.shape[-1]
    if isinstance(output, tuple | list) or (isinstance(output, dict) and "logits" not in output):
        seen.several = sum(tensor.is_floating_point() for tensor in _tensors(output))
    targets: Any = None
    if isinstance(batch, Mapping):
        targets = batch.get("labels")
    elif loss is not None:
        targets = batch[1]
    seen.targets = targets is not None
    seen.labels = isinstance(targets, Tensor) and not targets.is_floating_point()


def _distinct(inputs: Any) -> tuple[float, float]:
    """Return `Observed.distinct` and `Observed.tokens` of what a model is called with."""
    leaves = [leaf for leaf in _tensors(inputs) if leaf.ndim and leaf.dtype != torch.bool]
    if not leaves or len({len(leaf) for leaf in leaves}) > 1:
        return 1.0, math.inf
    rows = [leaf.detach().cpu().reshape(len(leaf), -1).view(torch.uint8).numpy() for leaf in leaves]
    seen = {hash(tuple(one[k].tobytes() for one in rows)) for k in range(len(leaves[0]))}
    share = len(seen) / len(leaves[0])
    whole = [leaf for leaf in leaves if not leaf.is_floating_point()]
    if len(whole) < len(leaves):
        return share, math.inf
    tokens = sum(len(leaf.unique()) + max(leaf[0].numel(), 1) - 1 for leaf in whole)
    return share, float(tokens)


def _logits(output: Any) -> Any:
    if isinstance(output, Mapping) and "logits" in output:
        return output["logits"]
    return output


def _loss(output: Any, batch: Any, loss: Loss | None) -> Tensor | None:
    if loss is not None:
        return loss(output, batch if isinstance(batch, Mapping) else batch[1])
    value = getattr(output, "loss", None)
    if value is None and isinstance(output, Mapping):
        value = output.get("loss")
    return value if isinstance(value, Tensor) else None


def _gradient(model: nn.Module, value: Tensor, seen: Observed) -> dict[str, Tensor] | None:
    if value.ndim:
        raise ValueError(
            f"loss returned shape {tuple(value.shape)}; it must return a scalar, such as the mean"
        )
    if not bool(value.isfinite()):
        seen.left_out.append(("the gradient", f"the loss is {value.item()}"))
        return None
    named = {name: p for name, p in named_parameters(model).items() if p.requires_grad}
    if not named or not value.requires_grad:
        seen.left_out.append(("the gradient", "no parameter requires one: the model is frozen"))
        return None
    gradients = torch.autograd.grad(
        value, list(named.values()), allow_unused=True, materialize_grads=True
    )
    return {name: g.detach() for name, g in zip(named, gradients, strict=True)}


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, and put modes, buffers and the random state back after it."""
    training = {module: module.training for module in model.modules()}
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=[d.index or 0 for d in devices]), _uncompiled():
        model.eval()
        for module in training:
            # Running statistics that no batch has touched would be wrong by any factor.
            if isinstance(module, _BatchNorm) and not _has_statistics(module):
                module.train()
        try:
            yield
        finally:
            for module, mode in training.items():
                module.training = mode
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)


def _uncompiled() -> AbstractContextManager[Any]:
    """Return a context in which a compiled model runs as written: hooks would compile it anew."""
    stance = getattr(torch.compiler, "set_stance", None)  # from PyTorch 2.6 on
    return nullcontext() if stance is None else stance("force_eager")


def _has_statistics(norm: _BatchNorm) -> bool:
    """Test whether a norm's running statistics are those of data, and not what they began as."""
    if norm.num_batches_tracked is None:
        return True
    batches = int(norm.num_batches_tracked)
    if norm.momentum is None:  # a mean over all batches
        return batches > 0
    return float((1 - norm.momentum) ** batches) < _LEFT_OF_START


def _is_pair(batch: Any) -> bool:
    return isinstance(batch, tuple | list) and len(batch) == 2


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
