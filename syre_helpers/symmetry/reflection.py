"""A reflection: a linear (or affine) involution on named parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .._checks import check_function, check_parameters, check_scalar

Parameters = Mapping[str, Tensor]
"""Named tensors, as ``dict(model.named_parameters())`` gives them."""

# Probes that find rank(P) are drawn from this seed: the rank is the same for almost every draw, so
# the seed only makes it reproducible.
_PROBE_SEED = 0


Shapes = frozenset[tuple[str, tuple[int, ...]]]


class _Trial(NamedTuple):
    """What one trial of an involution showed; lengths are those of the entries that it moves."""

    stretch: float  # length of the image over the length of the direction
    return_error: float  # distance from the direction after two applications, over its length
    origin_moves: float  # length of the image of 0
    tolerance: float


class Reflection:
    r"""A reflection :math:`R(\theta) = \theta - 2 P (\theta - \theta')` of named parameters.

    The loss has the reflection as a symmetry when ``loss(R(params)) == loss(params)`` for all
    parameters and all data. Its fixed points form the mirror plane :math:`P(\theta - \theta') = 0`,
    the symmetric states. Nothing of size d x d is ever formed: the map is a function.

    A map that is its own inverse but not orthogonal has no mirror plane: ``R(u, w) = (2 w, u / 2)``
    keeps the loss ``(u w - 1)^2``, but at its fixed points the gradient points off them, so that no
    theorem on reflections holds. Every method refuses such a map: at the first call for given names
    and shapes, the lengths of generic directions and of their images are compared, in the precision
    of the parameters, over the entries that move.

    Parameters
    ----------
    involution : callable
        The linear part :math:`I - 2P`: takes a mapping of names to tensors, returns a mapping with
        the same names and shapes. It must be its own inverse and orthogonal (so that :math:`P` is
        symmetric), and must not change its argument. Names that it leaves out pass through.
    centre : mapping of str to Tensor, optional
        The centre :math:`\theta'`. Default: 0. Names that are missing have centre 0.
    buffers : iterable of str, optional
        Names in the mapping that the involution moves but that are not parameters, such as the
        running statistics of a BatchNorm. They are reflected with the rest, and do not count in
        ``rank`` and ``distance``. Default: none.
    check : bool
        Whether to test that the involution is its own inverse, linear and orthogonal. Default True.
        The families of this package are so by construction, and save the time.

    References
    ----------
    Ziyin, Xu and Chuang (ICLR 2025), section 3; Ziyin (ICML 2024), definition 1.

    Examples
    --------
    The loss ``(u * w - 1) ** 2`` does not change when u and w trade places.

    >>> import torch
    >>> swap = Reflection(lambda p: {"u": p["w"], "w": p["u"]})
    >>> state = {"u": torch.tensor(3.0), "w": torch.tensor(1.0)}
    >>> swap.violation(lambda p: (p["u"] * p["w"] - 1) ** 2, state)
    0.0
    >>> swap.rank(state)
    1
    >>> {name: value.item() for name, value in swap.nearest(state).items()}
    {'u': 2.0, 'w': 2.0}
    """

    def __init__(
        self,
        involution: Callable[[Parameters], Parameters],
        centre: Parameters | None = None,
        *,
        buffers: Iterable[str] = (),
        check: bool = True,
    ) -> None:
        if not callable(involution):
            raise TypeError(
                f"involution must be a function from a mapping to a mapping, got {involution!r}"
            )
        self._involution = involution
        self._centre = dict(centre or {})
        self._buffers = frozenset(buffers)
        self._to_check = check
        self._trials: dict[Shapes, _Trial] = {}

    def __call__(self, params: Parameters) -> dict[str, Tensor]:
        """Return the reflected parameters.

        Parameters
        ----------
        params : mapping of str to Tensor
            Any shapes, dtypes and devices.

        Returns
        -------
        dict of str to Tensor
            A new mapping with the names of `params`; `params` is left as it was.

        Raises
        ------
        ValueError
            If `params` lacks a name that the reflection moves, or the map is not orthogonal.
        """
        self._check(params, own_inverse=False)
        return self._uncentred(self._reflect(self._centred(params)))

    def project(self, params: Parameters) -> dict[str, Tensor]:
        r"""Return :math:`P(\theta - \theta')`, zero exactly on the mirror plane.

        Parameters
        ----------
        params : mapping of str to Tensor
            Where to project.

        Returns
        -------
        dict of str to Tensor
            Same names and shapes as `params`.

        Raises
        ------
        ValueError
            If the involution is not its own inverse or not orthogonal, or `params` lacks a name.
        """
        self._check(params)
        centred = self._centred(params)
        reflected = self._reflect(centred)
        return {name: (value - reflected[name]) / 2 for name, value in centred.items()}

    def nearest(self, params: Parameters) -> dict[str, Tensor]:
        r"""Return the closest symmetric state, :math:`\theta - P(\theta - \theta')`.

        Computed as the mean of the state and its image: addition commutes exactly in floating
        point, so two units that a swap makes equal are equal to the last bit.

        Parameters
        ----------
        params : mapping of str to Tensor
            Any state.

        Returns
        -------
        dict of str to Tensor
            Same names and shapes as `params`.

        Raises
        ------
        ValueError
            If the involution is not its own inverse or not orthogonal, or `params` lacks a name.
        """
        self._check(params)
        centred = self._centred(params)
        reflected = self._reflect(centred)
        mean = {
            # A counter among the buffers is no number to average.
            name: (value + reflected[name]) / 2 if value.is_floating_point() else value
            for name, value in centred.items()
        }
        return self._uncentred(mean)

    def linear_part(self) -> Reflection:
        """Return the same reflection centred at 0: how gradients and differences transform.

        Returns
        -------
        Reflection
            With the same involution and buffers.
        """
        linear = Reflection(self._involution, buffers=self._buffers, check=self._to_check)
        linear._trials = self._trials
        return linear

    @torch.no_grad()
    def distance(self, params: Parameters) -> float:
        r"""Return the distance to the mirror plane, :math:`\|P(\theta - \theta')\|`.

        Parameters
        ----------
        params : mapping of str to Tensor
            Any state; buffers do not count.

        Returns
        -------
        float
            Euclidean norm, in units of the parameters.

        Raises
        ------
        ValueError
            If the involution is not its own inverse or not orthogonal, or `params` lacks a name.
        """
        return _norm({n: v for n, v in self.project(params).items() if n not in self._buffers})

    @torch.no_grad()
    def rank(self, params: Parameters) -> int:
        r"""Return :math:`\mathrm{rank}(P)`: how many dimensions the mirror plane lacks.

        The rank is found by projecting random directions until a new one adds nothing, which
        gives the exact rank with probability one and needs about ``2 rank(P)`` applications.

        Parameters
        ----------
        params : mapping of str to Tensor
            Gives the names and shapes; the values do not matter. Buffers do not count.

        Returns
        -------
        int
            Between 0 (the identity) and the number of parameters.

        Raises
        ------
        ValueError
            If the involution is not its own inverse, or not orthogonal.
        """
        self._check(params)
        generator = torch.Generator().manual_seed(_PROBE_SEED)
        moved = self._project_probe(params, generator)
        support = {name: part != 0 for name, part in moved.items() if bool((part != 0).any())}
        if not support:
            return 0
        probes: list[Tensor] = []
        wanted = 8
        while True:
            while len(probes) < wanted:
                part = self._project_probe(params, generator)
                probes.append(torch.cat([part[name][mask] for name, mask in support.items()]))
            spectrum = torch.linalg.svdvals(torch.stack(probes))
            rank = int((spectrum > 1e-8 * spectrum[0]).sum())
            if rank < wanted:
                return rank
            wanted *= 2

    @torch.no_grad()
    def violation(self, loss_fn: Callable[[Parameters], Tensor], params: Parameters) -> float:
        """Return the change of the loss under the reflection, relative to the loss.

        Parameters
        ----------
        loss_fn : callable
            ``loss_fn(params)`` returns a scalar tensor.
        params : mapping of str to Tensor
            Where to compare.

        Returns
        -------
        float
            ``|loss(R params) - loss(params)| / max(|loss(params)|, tiny)`` with the smallest normal
            number of the loss's dtype for ``tiny``: 0, or rounding, for a symmetry.

        Raises
        ------
        ValueError
            If the involution is not its own inverse or not orthogonal, or `params` lacks a name.
        """
        self._check(params)
        check_function("loss_fn", loss_fn)
        loss = check_scalar("loss_fn", loss_fn(params))
        difference = (check_scalar("loss_fn", loss_fn(self(params))) - loss).abs()
        return float(difference / loss.abs().clamp_min(torch.finfo(loss.dtype).tiny))

    def _reflect(self, centred: Parameters) -> Parameters:
        try:
            reflected = self._involution(centred)
        except KeyError as missing:
            raise ValueError(
                f"params has no entry {missing}, which this reflection moves; it has "
                f"{sorted(centred)}. Pass dict(model.named_parameters()) of the model that the "
                "reflection was made for (with its buffers where it has a BatchNorm)."
            ) from missing
        if not reflected.keys() <= centred.keys():
            strangers = sorted(reflected.keys() - centred.keys())
            raise ValueError(f"involution returns {strangers}, which params does not have")
        return {**centred, **reflected}

    def _centred(self, params: Parameters) -> Parameters:
        if not self._centre:
            return params
        return {n: v - self._centre[n] if n in self._centre else v for n, v in params.items()}

    def _uncentred(self, centred: Parameters) -> dict[str, Tensor]:
        return {n: v + self._centre[n] if n in self._centre else v for n, v in centred.items()}

    def _check(self, params: Parameters, *, own_inverse: bool = True) -> None:
        """Raise an error if params is no mapping, or if a trial shows that this is no mirror."""
        check_parameters("params", params)
        if not self._to_check:
            return
        shapes = frozenset((name, tuple(value.shape)) for name, value in params.items())
        if shapes not in self._trials:
            self._trials[shapes] = self._trial(params)
        trial = self._trials[shapes]
        if trial.origin_moves > 0:
            raise ValueError(
                f"involution moves the origin by {trial.origin_moves:.3g}: it must be the linear "
                "part of the reflection; pass the point that it leaves alone as centre"
            )
        if own_inverse and trial.return_error > trial.tolerance:
            raise ValueError(
                "involution is not its own inverse: applied twice it changes params, in length by "
                f"{trial.return_error:.3g} of what it moves"
            )
        if abs(trial.stretch - 1) > trial.tolerance:
            raise ValueError(
                "involution is not orthogonal: it multiplies the length of a generic direction by "
                f"{trial.stretch:.4g}, so its fixed points are no mirror plane, and the gradient "
                "of a symmetric loss may point off them. A rescaling of units, such as (u, w) -> "
                "(2 w, u / 2), is no reflection; the swap (u, w) -> (w, u) is. See Reflection "
                "(Ziyin, Xu and Chuang, ICLR 2025, section 3)"
            )

    @torch.no_grad()
    def _trial(self, params: Parameters) -> _Trial:
        """Apply the involution to the origin, and twice to three generic directions."""
        origin = {n: torch.zeros_like(p) for n, p in self._direction(params, 0).items()}
        stretches, return_errors = [1.0], [0.0]
        # The third is a combination of the other two: it tests the angle between them.
        for phase in range(3):
            probe = self._direction(params, phase)
            once = self._reflect(probe)
            twice = self._reflect(once)
            moves = {name: once[name] != p for name, p in probe.items()}
            before = _norm({name: probe[name] * moved for name, moved in moves.items()})
            after = _norm({name: once[name] * moved for name, moved in moves.items()})
            error = _norm({name: twice[name] - p for name, p in probe.items()})
            if before:
                stretches.append(after / before)
                return_errors.append(error / before)
        precisions = [torch.finfo(p.dtype).eps for p in origin.values() if p.is_floating_point()]
        return _Trial(
            stretch=max(stretches, key=lambda stretch: abs(stretch - 1)),
            return_error=max(return_errors),
            origin_moves=_norm(self._reflect(origin)),
            # 1e-5 admits constants that were rounded to float32.
            tolerance=max(1e-5, 4 * max(precisions, default=0.0)),
        )

    def _direction(self, params: Parameters, phase: int) -> dict[str, Tensor]:
        """Return a generic direction, the same every time; 0 for buffers and whole numbers."""
        # No random numbers: `torch.func.vmap` forbids them.
        direction, count = {}, 1
        for name, p in params.items():
            values = torch.zeros(p.numel(), dtype=torch.float64)
            if p.is_floating_point() and name not in self._buffers:
                squares = torch.arange(count, count + p.numel(), dtype=torch.float64).square()
                values = (squares + phase).sin()
                count += p.numel()
            direction[name] = values.reshape(p.shape).to(p.device, p.dtype)
        return direction

    def _project_probe(self, params: Parameters, generator: torch.Generator) -> dict[str, Tensor]:
        """Project a random direction, in float64, without the buffers, which are held at 0."""
        probe = {
            name: torch.zeros(p.shape, dtype=torch.float64)
            if name in self._buffers
            else torch.randn(p.shape, generator=generator, dtype=torch.float64)
            for name, p in params.items()
        }
        reflected = self._reflect(probe)
        return {n: (p - reflected[n]) / 2 for n, p in probe.items() if n not in self._buffers}


def _norm(params: Parameters) -> float:
    """Return the Euclidean norm of all tensors together."""
    squares = [p.detach().double().square().sum().cpu() for p in params.values()]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
