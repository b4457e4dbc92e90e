"""What collapse looks like in numbers: ranks, dead and duplicate units, forces, barriers.

Measures of arrays accept leading batch axes, so they work under ``torch.func.vmap`` and on models
stacked along an axis. Floor 1 of the package: knows torch only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from .symmetry import Parameters, Reflection

LossFn = Callable[[Parameters], Tensor]


def effective_rank(x: Tensor) -> Tensor:
    r"""Return the effective rank: the exponential of the entropy of the normalised singular values.

    Parameters
    ----------
    x : Tensor
        Shape (..., rows, columns), real floating.

    Returns
    -------
    Tensor
        Shape (...), between 1 and min(rows, columns); 0 for a zero matrix.

    Raises
    ------
    ValueError
        If `x` is not a matrix or a batch of them.

    References
    ----------
    Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.

    Examples
    --------
    >>> import torch
    >>> round(effective_rank(torch.eye(4)).item(), 4)
    4.0
    """
    spectrum = _spectrum(x)
    total = spectrum.sum(-1, keepdim=True)
    p = spectrum / torch.where(total > 0, total, torch.ones_like(total))
    entropy = -torch.special.xlogy(p, p).sum(-1)
    return torch.where(total.squeeze(-1) > 0, entropy.exp(), torch.zeros_like(entropy))


def stable_rank(x: Tensor) -> Tensor:
    r"""Return the stable rank, :math:`\|x\|_F^2 / \|x\|_2^2`: it hardly sees small singular values.

    Parameters
    ----------
    x : Tensor
        Shape (..., rows, columns), real floating.

    Returns
    -------
    Tensor
        Shape (...), between 1 and the rank; 0 for a zero matrix.

    Raises
    ------
    ValueError
        If `x` is not a matrix or a batch of them.

    Examples
    --------
    >>> import torch
    >>> round(stable_rank(torch.diag(torch.tensor([2.0, 1.0, 1.0]))).item(), 4)
    1.5
    """
    squares = _spectrum(x).square()
    largest = squares.amax(-1)
    safe = torch.where(largest > 0, largest, torch.ones_like(largest))
    return squares.sum(-1) / safe


def numerical_rank(x: Tensor, rtol: float | None = None) -> Tensor:
    """Return how many singular values exceed `rtol` times the largest.

    A full numerical rank alone proves nothing: adding a small random matrix to a collapsed one
    gives full rank too.

    Parameters
    ----------
    x : Tensor
        Shape (..., rows, columns), real floating.
    rtol : float, optional
        Tolerance relative to the largest singular value. Default: max(rows, columns) times the
        dtype's epsilon, the convention of ``torch.linalg.matrix_rank``.

    Returns
    -------
    Tensor
        Shape (...), int64.

    Raises
    ------
    ValueError
        If `x` is not a matrix or a batch of them, or `rtol` is not in [0, 1).

    Examples
    --------
    >>> import torch
    >>> numerical_rank(torch.diag(torch.tensor([1.0, 0.1, 1e-12])), rtol=1e-3).item()
    2
    """
    spectrum = _spectrum(x)
    if rtol is None:
        rtol = max(x.shape[-2:]) * torch.finfo(x.dtype).eps
    if not 0 <= rtol < 1:
        raise ValueError(
            f"rtol={rtol!r} must lie in [0, 1): it is relative to the largest singular value"
        )
    return (spectrum > rtol * spectrum.amax(-1, keepdim=True)).sum(-1)


def dead_fraction(x: Tensor, tol: float = 1e-6) -> Tensor:
    """Return the share of units that are never active.

    Parameters
    ----------
    x : Tensor
        Activations, shape (..., samples, units); or one value a unit, shape (units,), such as the
        products ``u * w`` of a reparametrised regression.
    tol : float
        A unit is dead if all its values are at most `tol` times the largest value of all units, in
        size. Default 1e-6.

    Returns
    -------
    Tensor
        Shape (...), between 0 and 1; 1 if all values are 0.

    Raises
    ------
    ValueError
        If `x` is empty or `tol` negative.

    Examples
    --------
    >>> import torch
    >>> dead_fraction(torch.tensor([[0.0, 1.0], [0.0, -2.0]])).item()
    0.5
    """
    if x.numel() == 0:
        raise ValueError(
            f"x is empty (shape {tuple(x.shape)}); pass at least one sample and one unit"
        )
    if not tol >= 0:
        raise ValueError(f"tol={tol!r} must be >= 0")
    size = x.abs() if x.ndim == 1 else x.abs().amax(-2)
    return (size <= tol * size.amax(-1, keepdim=True)).to(_floating(x)).mean(-1)


def duplicate_fraction(weight: Tensor, tol: float = 1e-6) -> Tensor:
    """Return the share of units that copy an earlier one: rows that could be deleted.

    Parameters
    ----------
    weight : Tensor
        One row a unit, shape (..., units, scalars): incoming weights, with bias and outgoing
        weights beside them where copies in every respect are meant.
    tol : float
        Two rows are copies if they differ by at most `tol` times the largest norm of a row.
        Default 1e-6.

    Returns
    -------
    Tensor
        Shape (...), from 0 (all distinct) to (units - 1) / units (all the same).

    Raises
    ------
    ValueError
        If `weight` is not a matrix or a batch of them, or `tol` is negative.

    Examples
    --------
    >>> import torch
    >>> duplicate_fraction(torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])).item()
    0.5
    """
    _check_matrix(weight)
    if not tol >= 0:
        raise ValueError(f"tol={tol!r} must be >= 0")
    distance = (weight.unsqueeze(-2) - weight.unsqueeze(-3)).norm(dim=-1)
    largest = weight.norm(dim=-1).amax(-1)[..., None, None]
    earlier = torch.ones_like(distance).tril(-1).bool()
    copies = ((distance <= tol * largest) & earlier).any(-1)
    return copies.to(_floating(weight)).mean(-1)


def active_latents(means: Tensor, threshold: float = 0.01) -> Tensor:
    r"""Return how many latents of a VAE carry information: those whose posterior mean varies.

    Parameters
    ----------
    means : Tensor
        Posterior means :math:`\mathbb{E}[z \mid x]`, shape (..., samples, latents).
    threshold : float
        A latent is active if the variance of its mean over the samples exceeds this. Default 0.01.

    Returns
    -------
    Tensor
        Shape (...), int64.

    Raises
    ------
    ValueError
        If `means` is not a matrix or a batch of them, or has fewer than two samples.

    References
    ----------
    Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016, section 5.1.

    Examples
    --------
    >>> import torch
    >>> active_latents(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item()
    1
    """
    _check_matrix(means)
    if means.shape[-2] < 2:
        raise ValueError(f"means has {means.shape[-2]} sample; a variance needs at least 2")
    return (means.var(-2) > threshold).sum(-1)


def degree_of_symmetry(
    reflections: Iterable[Reflection], params: Parameters, tol: float = 1e-6
) -> float:
    """Return the share of the given reflections on whose mirror plane a state lies.

    Parameters
    ----------
    reflections : iterable of Reflection
        For example the swaps of all pairs of units of a layer.
    params : mapping of str to Tensor
        The state.
    tol : float
        The state lies on a plane if its distance is at most `tol` times the norm of all parameters.
        Default 1e-6.

    Returns
    -------
    float
        0 for a state without symmetry, 1 for one that all the reflections leave alone.

    Raises
    ------
    ValueError
        If there are no reflections.
    """
    reflections = list(reflections)
    if not reflections:
        raise ValueError("reflections is empty; pass at least one")
    norm = float(
        torch.stack([p.detach().double().square().sum().cpu() for p in params.values()])
        .sum()
        .sqrt()
    )
    return sum(r.distance(params) <= tol * norm for r in reflections) / len(reflections)


def escape_force(reflection: Reflection, loss_fn: LossFn, params: Parameters) -> float:
    r"""Return :math:`\|P \nabla \ell\|`: how hard gradient descent pushes away from a mirror plane.

    On the mirror plane it is 0 for a loss with the symmetry; under syre it is at least of order
    :math:`\gamma \sigma_0`.

    Parameters
    ----------
    reflection : Reflection
        The symmetry.
    loss_fn : callable
        ``loss_fn(params)`` returns a scalar tensor, penalties included.
    params : mapping of str to Tensor
        Where to measure; usually a symmetric state.

    Returns
    -------
    float
        Euclidean norm of the part of the gradient that is normal to the plane.

    References
    ----------
    Ziyin, Xu and Chuang (ICLR 2025), the theorem on the strength of removal.
    """
    leaves = {name: p.detach().requires_grad_(p.is_floating_point()) for name, p in params.items()}
    loss = loss_fn(leaves)
    wanted = [p for p in leaves.values() if p.requires_grad]
    gradients = iter(torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True))
    gradient = {n: next(gradients) if p.requires_grad else p for n, p in leaves.items()}
    # P is linear; the reflection's own distance subtracts the centre from a state, not a gradient.
    return reflection.linear_part().distance(gradient)


def loss_barrier(
    loss_fn: LossFn,
    params_a: Parameters,
    params_b: Parameters,
    *,
    points: int = 25,
    reset: Callable[[Parameters], Parameters] | None = None,
) -> float:
    r"""Return the height of the loss barrier on the straight line between two trained states.

    .. math::

        \max_{\alpha \in [0, 1]} \ell(\theta_\alpha) - (1 - \alpha) \ell(\theta_0)
        - \alpha \ell(\theta_1)

    Parameters
    ----------
    loss_fn : callable
        ``loss_fn(params)`` returns a scalar tensor.
    params_a, params_b : mapping of str to Tensor
        The two ends, with the same names and shapes.
    points : int
        How many points of the line are tried, both ends included. Default 25.
    reset : callable, optional
        Maps interpolated parameters to those that are measured. Needed with BatchNorm: its running
        statistics must be computed anew for every interpolated network.

    Returns
    -------
    float
        At least 0; 0 if the loss nowhere exceeds the interpolated losses of the ends.

    Raises
    ------
    ValueError
        If the names or shapes differ, or `points` is below 3.

    References
    ----------
    Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis", ICML 2020;
    Lim et al. (NeurIPS 2024).
    """
    if points < 3:
        raise ValueError(f"points={points} must be at least 3: the ends and one point between")
    shapes_a = {name: p.shape for name, p in params_a.items()}
    shapes_b = {name: p.shape for name, p in params_b.items()}
    if shapes_a != shapes_b:
        raise ValueError("params_a and params_b must have the same names and shapes")
    alphas = torch.linspace(0, 1, points, dtype=torch.float64)
    losses = []
    with torch.no_grad():
        for alpha in alphas.tolist():
            state: Parameters = {
                # Counters, such as a BatchNorm's number of batches, do not interpolate.
                name: torch.lerp(p, params_b[name], alpha) if p.is_floating_point() else p
                for name, p in params_a.items()
            }
            losses.append(float(loss_fn(state if reset is None else reset(state))))
    line = torch.tensor(losses, dtype=torch.float64)
    return float((line - torch.lerp(line[0], line[-1], alphas)).max().clamp_min(0))


def _spectrum(x: Tensor) -> Tensor:
    _check_matrix(x)
    try:
        return torch.linalg.svdvals(x)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise ValueError(
            f"the singular values of x, shape {tuple(x.shape)}, cannot be found; it may hold NaN "
            "or infinite values, as after training that diverged"
        ) from error


def _check_matrix(x: Tensor) -> None:
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(
            "expected a matrix or a batch of them with at least one entry, got shape "
            f"{tuple(x.shape)}"
        )
    if not x.is_floating_point():
        raise ValueError(
            f"expected real floating entries, got dtype {x.dtype}; call .double() first"
        )


def _floating(x: Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()
