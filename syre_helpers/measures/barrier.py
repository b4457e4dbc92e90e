"""The loss between two networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from .._checks import check_function, check_int, check_parameters, check_scalar

Parameters = Mapping[str, Tensor]


def loss_barrier(
    loss_fn: Callable[[Parameters], Tensor],
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
        Number of points of the line, both ends included. Default 25.
    reset : callable, optional
        Maps interpolated parameters to those that are measured. Needed with BatchNorm: its running
        statistics must be computed anew for every interpolated network, see `reset_statistics`.

    Returns
    -------
    float
        At least 0; 0 if the loss nowhere exceeds the interpolated losses of the ends; NaN if a loss
        is NaN, or infinite at an end.

    Raises
    ------
    TypeError
        If an argument is of a wrong type.
    ValueError
        If the names or shapes differ, `points` is below 3, or the loss is no scalar.

    References
    ----------
    Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis", ICML 2020;
    Lim et al. (NeurIPS 2024).
    """
    check_function("loss_fn", loss_fn)
    check_parameters("params_a", params_a)
    check_parameters("params_b", params_b)
    if check_int("points", points) < 3:
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
            loss = loss_fn(state if reset is None else reset(state))
            losses.append(float(check_scalar("loss_fn", loss)))
    line = torch.tensor(losses, dtype=torch.float64)
    return float((line - torch.lerp(line[0], line[-1], alphas)).max().clamp_min(0))


def reset_statistics(
    model: nn.Module, x: Tensor, batch_size: int = 1000
) -> Callable[[Parameters], Parameters] | None:
    """Return the function that re-estimates BatchNorm's running statistics for given parameters.

    Parameters
    ----------
    model : nn.Module
        A network; not changed.
    x : Tensor
        Inputs to take the statistics over, on the device of the states.
    batch_size : int
        Largest number of inputs at once; the statistics are the averages over these batches.
        Default 1000.

    Returns
    -------
    callable or None
        Maps the state of a network to one with the same parameters and new running statistics: the
        ``reset`` of `loss_barrier`. None for a model without BatchNorm.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    >>> reset = reset_statistics(model, torch.ones(8, 2))
    >>> state = reset(model.state_dict())
    >>> torch.allclose(state["1.running_mean"], model[0](torch.ones(2)))
    True
    """
    worker = copy.deepcopy(model)
    norms = [m for m in worker.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return None

    def reset(state: Parameters) -> Parameters:
        worker.load_state_dict(dict(state))
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
        worker.train()
        with torch.no_grad():
            for part in x.split(batch_size):
                worker(part)
        return {name: value.clone() for name, value in worker.state_dict().items()}

    return reset
