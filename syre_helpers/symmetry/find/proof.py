"""Proof of families by evaluation, in float64 at generic parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from ..._random import generator
from .action import Element, apply_
from .candidates import Candidate
from .decompositions import DRAWN
from .graph import plain_kernels, widened
from .layout import noise_name
from .network import Network
from .noise import is_random

State = dict[str, Tensor]
# How many random elements are tried on what training writes.
_IN_TRAINING = 6


class _Replayed(TorchDispatchMode):
    """Compute in float64, with noise that is drawn once and then given back."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state, self.count = state, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = widened(func, args, kwargs)
        if (drawn := DRAWN.get(func)) is not None:
            with self:
                return drawn(*args, **kwargs)
        result = func(*args, **kwargs)
        if is_random(func):
            for one in tree_flatten(result)[0]:
                name = noise_name(self.count)
                self.count += 1
                if name in self.state:
                    one.copy_(self.state[name])
                else:
                    self.state[name] = one.clone()
        return result


@dataclass(eq=False)
class Prover:
    """The outputs at a generic state, against those at transformed states.

    Parameters
    ----------
    network : Network
        Prepared.
    tol : float
        Largest change of an output relative to its size.
    """

    network: Network
    tol: float

    def __post_init__(self) -> None:
        self.state: State = dict(self.network.state)
        self.reference = self.outputs(self.state)
        self._others: Prover | None = None

    def check_repeats(self) -> None:
        """Check that outputs depend on nothing but parameters, inputs and noise.

        Raises
        ------
        ValueError
            If they do.
        """
        if not self.difference(self.outputs(self.state)) <= self.tol:
            raise ValueError(
                "the model's outputs differ between two calls with the same parameters, inputs and "
                "random numbers: it counts its calls, or draws from a source of its own; pass a "
                "model, or outputs=..., that repeats itself"
            )

    def at_others(self) -> Prover:
        """Return the same at other inputs: those of the example may be zeros, or alike."""
        if self._others is None:
            self._others = Prover(self.network.varied(0), self.tol)
        return self._others

    def outputs(self, state: State) -> list[Tensor]:
        """Return the outputs that must not change, at a state with its noise."""
        network = self.network
        with torch.enable_grad(), plain_kernels(), _Replayed(state):
            return [
                one.detach().clone() for one in network.call(network.only(state), network.inputs)
            ]

    @contextmanager
    def moved(self, families: Sequence[tuple[Candidate, Element]]) -> Iterator[State]:
        """Yield the state with group elements applied, one after the other; undone afterwards.

        It is changed in place, since a copy would be as large as the model. Orders and signs are
        undone to the last bit; what rotations touch is kept beside it.

        Parameters
        ----------
        families : sequence of tuple
            Families with their elements.

        Yields
        ------
        dict of str to Tensor
            The same tensors as in `state`, where modules have changed places under other names.
        """
        state = dict(self.state)
        rotated = {n for family, one in families if one.matrix is not None for n in family.names()}
        kept = {name: state[name].clone() for name in rotated}
        done: list[tuple[Candidate, Element]] = []
        try:
            for family, element in families:
                transform_(state, family, element)
                done.append((family, element))
            yield state
        finally:
            for family, element in reversed(done):
                if element.matrix is None:
                    transform_(state, family, element.inverse())
            for name, value in kept.items():
                self.state[name].copy_(value)

    def violation(self, families: Sequence[tuple[Candidate, Element]]) -> float:
        """Return the largest change of an output, relative to the output's size."""
        with self.moved(families) as state:
            return self.difference(self.outputs(state))

    def difference(self, outputs: list[Tensor]) -> float:
        """Return the relative distance of outputs from the reference; NaN is infinity."""
        worst = 0.0
        if len(outputs) != len(self.reference):
            return math.inf
        for one, other in zip(outputs, self.reference, strict=True):
            if one.shape != other.shape:
                return math.inf
            if other.is_complex():
                one, other = torch.view_as_real(one), torch.view_as_real(other)
            if not other.is_floating_point():
                worst = max(worst, 0.0 if torch.equal(one, other) else math.inf)
                continue
            size = float(other.abs().max()) or 1.0
            change = float((one - other).abs().max()) / size
            worst = max(worst, change if math.isfinite(change) else math.inf)
        return worst

    def elsewhere(self, number: int) -> Prover:
        """Return the same at another generic state, with other numbers in its inputs."""
        return Prover(self.network.elsewhere(number), self.tol)

    def gradients(self, look: Callable[[str, Tensor], None], number: int = 0) -> bool:
        """Show the gradients of a random combination of all outputs, one parameter after another.

        Parameters
        ----------
        look : callable
            ``look(name, gradient)`` is called for each parameter. What it does not keep is gone
            afterwards: all gradients together are as large as the model.
        number : int
            Of the combination. Default 0.

        Returns
        -------
        bool
            False where that fails: some models write over what a gradient would need.
        """
        network = self.network
        names = [name for name, kind in network.moving.items() if kind == "parameter"]
        leaves = {name: self.state[name].detach().requires_grad_() for name in names}
        left = dict(leaves)

        def shown(leaf: Tensor, name: str) -> None:
            assert leaf.grad is not None
            look(name, leaf.grad)
            leaf.grad = None
            del left[name]

        for name, leaf in leaves.items():
            leaf.register_post_accumulate_grad_hook(partial(shown, name=name))
        source = generator(network.seed, "find", "outputs", number)
        try:
            with torch.enable_grad(), plain_kernels(), _Replayed({**self.state, **leaves}) as here:
                outputs = network.call(network.only(here.state), network.inputs)
            total = torch.zeros((), dtype=torch.float64)
            for one in outputs:
                if one.is_floating_point() and one.requires_grad:
                    weight = torch.randn(one.shape, generator=source, dtype=torch.float64)
                    total = total + (one * weight.to(one.device)).sum().cpu()
            torch.autograd.backward(total, inputs=list(leaves.values()))
        except RuntimeError:
            return False
        for name, leaf in list(left.items()):
            look(name, leaf.new_zeros(()).expand(leaf.shape))
        return True

    def holds_in_training(self, family: Candidate, seed: int) -> bool:
        """Test whether what training writes to buffers moves with a family.

        Parameters
        ----------
        family : Candidate
            Proved in evaluation mode, where buffers are given.
        seed : int
            Of random elements.

        Returns
        -------
        bool
            False where it would not: with fixed left and right vectors, a spectral norm divides a
            negated matrix by a negated norm, and training makes the norm positive.
        """
        network = self.network
        before = network.after_training(self.state)
        for draw in range(_IN_TRAINING):
            element = family.drawn(generator(seed, "find", "training", draw))
            with self.moved([(family, element)]) as moved:
                after = network.after_training(moved)
            state = {
                n: before.get(n, v).clone() for n, v in self.state.items() if n in family.names()
            }
            transform_(state, family, element)
            for name in network.own_buffers:
                image = state.get(name, before[name])
                if not bool((after[name] - image).abs().max() <= 1e-8 * image.abs().max()):
                    return False
        return True

    def prove(self, families: list[Candidate], draws: int, seed: int) -> list[Candidate]:
        """Return the families that hold: products of random elements of all, `draws` times.

        Of a group that is no symmetry, at least half of all elements break it, so that k draws let
        it pass with a chance of 2^-k.

        Parameters
        ----------
        families : list of Candidate
            Those to prove; each gets its largest `violation`.
        draws : int
            How often.
        seed : int
            Of the random elements.

        Returns
        -------
        list of Candidate
            Those that no draw broke.
        """
        kept = list(families)
        for draw in range(draws):
            source = generator(seed, "find", "draw", draw)
            elements = [(one, one.drawn(source)) for one in kept]
            prover = self if draw % 3 == 0 else self.at_others()
            broken = prover._broken(elements)
            kept = [one for one in kept if not any(one is other for other in broken)]
        return kept

    def _broken(self, elements: list[tuple[Candidate, Element]]) -> list[Candidate]:
        """Return the families that break something, by halves."""
        if not elements:
            return []
        worst = self.violation(elements)
        if worst <= self.tol:
            for family, _ in elements:
                family.violation = max(worst, _or_zero(family.violation))
            return []
        if len(elements) == 1:
            return [elements[0][0]]
        half = len(elements) // 2
        return self._broken(elements[:half]) + self._broken(elements[half:])


def transform_(state: State, family: Candidate, element: Element) -> None:
    """Apply a group element of a family to a state, in place."""
    for site in family.sites:
        apply_(state, site, element)
    if family.modules and element.order is not None:
        before = {name: state[name] for names in family.modules for name in names}
        for names, source in zip(family.modules, element.order[0].tolist(), strict=True):
            for name, other in zip(names, family.modules[source], strict=True):
                state[name] = before[other]
    if family.kind == "whole" and element.signs is not None and int(element.signs[0, 0]) < 0:
        for piece in family.pieces:
            piece.of(state).neg_()


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
