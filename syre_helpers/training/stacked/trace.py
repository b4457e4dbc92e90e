"""A function of tensors as a plain list of operations: traced once, without needless ones.

``vmap`` and ``grad`` decide anew at every call which operations to run, which costs more than
running them where models are small. A traced graph runs the same ones; those that change
nothing, and those that another one has done already, are left out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from ..options import generators_kept

_ATEN = torch.ops.aten
_IN_PLACE = {
    _ATEN.add.Tensor: _ATEN.add_.Tensor,
    _ATEN.mul.Tensor: _ATEN.mul_.Tensor,
    _ATEN.sub.Tensor: _ATEN.sub_.Tensor,
}
_RESHAPES = (_ATEN.expand.default, _ATEN.view.default, _ATEN._unsafe_view.default)


def trace(function: Callable[..., Sequence[Tensor]], tensors: Sequence[Tensor]) -> fx.GraphModule:
    """Return the operations of a function of tensors of these shapes, as a function of its own.

    Parameters
    ----------
    function : callable
        Takes the tensors one by one, changes none of them, and returns a list of tensors. May use
        ``torch.func``.
    tensors : sequence of Tensor
        Examples; the function is called with them once.

    Returns
    -------
    torch.fx.GraphModule
        Called as the function; its results are the same to the last bit.
    """
    # What is drawn in the trial would be missing when a run goes on.
    with generators_kept(tensors):
        traced = make_fx(function)(*tensors)
    operations = [node for node in traced.graph.nodes if node.op == "call_function"]
    # An operation that writes into its arguments makes "the same value" a matter of time.
    if not any(_writes(node) for node in operations):
        _simplify(traced.graph, operations)
        _reuse_memory(traced.graph)
        traced.recompile()
    return traced


def draws_random_numbers(traced: fx.GraphModule) -> bool:
    """Test whether a traced function draws random numbers, as dropout does."""
    return any(_random(node) for node in traced.graph.nodes if node.op == "call_function")


def write_back(traced: fx.GraphModule) -> None:
    """Let a traced function write its results into its first arguments, and return nothing.

    Parameters
    ----------
    traced : torch.fx.GraphModule
        From `trace`; changed.
    """
    graph = traced.graph
    arguments = [node for node in graph.nodes if node.op == "placeholder"]
    output = next(node for node in graph.nodes if node.op == "output")
    with graph.inserting_before(output):
        for argument, result in zip(arguments, output.args[0], strict=False):
            graph.call_function(_ATEN.copy_.default, (argument, result))
    output.args = ((),)
    traced.recompile()


def _simplify(graph: fx.Graph, operations: list[fx.Node]) -> None:
    done: dict[str, fx.Node] = {}
    for node in operations:
        same = _source(node)
        if same is None and not _random(node):
            same = done.setdefault(_signature(node), node)
        if same is not None and same is not node:
            node.replace_all_uses_with(same)
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _reuse_memory(graph: fx.Graph) -> None:
    """Let sums and products overwrite an argument that nothing else uses.

    Large arrays are then neither asked of the system nor given back at every step.
    """
    for node in graph.nodes:
        if node.target not in _IN_PLACE or len(node.args) != 2:
            continue
        either = node.target is not _ATEN.sub.Tensor and not node.kwargs
        for own, other in (node.args, reversed(node.args))[: 1 + either]:
            if isinstance(own, fx.Node) and own is not other and _disposable(own, node):
                node.target, node.args = _IN_PLACE[node.target], (own, other)
                break


def _disposable(own: fx.Node, user: fx.Node) -> bool:
    made_here = own.target in _IN_PLACE or own.target in _IN_PLACE.values()
    alike = (_shape(own), _dtype(own)) == (_shape(user), _dtype(user))
    return made_here and alike and set(own.users) == {user}


def _source(node: fx.Node) -> fx.Node | None:
    """Return the node that has the same value already, where this one changes nothing."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node):
        return None
    if node.target in _RESHAPES and _shape(node) == _shape(source):
        return source
    if node.target is _ATEN.mul.Scalar and node.args[1] == 1 and _dtype(node) == _dtype(source):
        return source
    if node.target is source.target is _ATEN.transpose.int:
        back = _swapped(node) == _swapped(source)
        return source.args[0] if back and isinstance(source.args[0], fx.Node) else None
    return None


def _swapped(transpose: fx.Node) -> set[int]:
    ndim = len(_shape(transpose))
    axes: Any = transpose.args[1:]
    return {axis % ndim for axis in axes}


def _signature(node: fx.Node) -> str:
    """Return a text that two nodes share when they compute the same from the same."""
    return f"{node.target} {node.args} {sorted(node.kwargs.items())}"


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _dtype(node: fx.Node) -> torch.dtype:
    return node.meta["val"].dtype


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is None or bool(schema.is_mutable)


def _random(node: fx.Node) -> bool:
    tags: Any = getattr(node.target, "tags", ())
    return torch.Tag.nondeterministic_seeded in tags
