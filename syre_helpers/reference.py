r"""Syre in plain PyTorch: three forms of one remedy, to read first, to copy and to cite.

With a small, random, fixed :math:`\theta_0` and a diagonal :math:`D` near 1, all three train on

.. math:: \ell(p) + \gamma (p - \theta_0)^T D (p - \theta_0), \qquad \text{weight_decay} = 2 \gamma

(Ziyin, Xu and Chuang, "Remove Symmetries to Control Model Expressivity and Improve Optimization",
ICLR 2025). Under plain SGD they are the same; under other optimizers the first decays as AdamW
does, the second as Adam does, the third as the optimizer itself does. `Syre` does the same with a
:math:`\theta_0` that depends on neither the device nor the order of the parameters, and refuses
what would go wrong in silence; here nothing is checked.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Params = dict[str, Tensor]
"""Tensors by parameter name, as ``dict(model.named_parameters())`` has them."""


def draw(params: Params, sigma_ratio: float, sigma_D: float, seed: int) -> tuple[Params, Params]:
    r"""Return :math:`\theta_0` and :math:`D`, which stay the same for the whole training.

    Parameters
    ----------
    params : dict of str to Tensor
        The parameters of a model.
    sigma_ratio : float
        Standard deviation of :math:`\theta_0` in units of ``1 / sqrt(fan_in)``; the paper has 0.01.
        The fan-in of a bias is that of the weight beside it.
    sigma_D : float
        :math:`D` is uniform in ``1 - sigma_D`` to ``1 + sigma_D``; 0 is the basic form.
    seed : int
        Of both.

    Returns
    -------
    tuple of dict
        ``theta_0, D``, with the names and shapes of `params`.

    Examples
    --------
    A training step in the first form:

    >>> model = nn.Linear(4, 2)
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0)
    >>> params = dict(model.named_parameters())
    >>> theta_0, D = draw(params, sigma_ratio=0.01, sigma_D=0.0, seed=0)
    >>> model(torch.ones(1, 4)).sum().backward()
    >>> pull_(params, theta_0, D, lr=1e-2, weight_decay=0.1)
    >>> optimizer.step()
    """
    generator = torch.Generator().manual_seed(seed)
    theta_0, D = {}, {}
    for name, p in params.items():
        weight = params.get(name.removesuffix("bias") + "weight", p) if p.ndim == 1 else p
        fan_in = weight[0].numel() if weight.ndim > 1 else weight.numel()
        theta_0[name] = torch.randn(p.shape, generator=generator).to(p) * sigma_ratio / fan_in**0.5
        D[name] = 1 + sigma_D * (2 * torch.rand(p.shape, generator=generator).to(p) - 1)
    return theta_0, D


@torch.no_grad()
def pull_(params: Params, theta_0: Params, D: Params, lr: float, weight_decay: float) -> None:
    """Pull the parameters in place: first form, called between ``backward()`` and ``step()``.

    Parameters
    ----------
    params : dict of str to Tensor
        The parameters of a model.
    theta_0, D : dict of str to Tensor
        From `draw`.
    lr, weight_decay : float
        The learning rate, and the strength of the decay.
    """
    for name, p in params.items():
        p -= lr * weight_decay * D[name] * (p - theta_0[name])


def penalty(params: Params, theta_0: Params, D: Params, weight_decay: float) -> Tensor:
    """Return the penalty, a scalar to add to the loss: second form.

    Parameters
    ----------
    params : dict of str to Tensor
        The parameters of a model.
    theta_0, D : dict of str to Tensor
        From `draw`.
    weight_decay : float
        The strength of the decay.

    Returns
    -------
    Tensor
        The scalar.
    """
    squares = [(D[name] * (p - theta_0[name]) ** 2).sum() for name, p in params.items()]
    return weight_decay / 2 * torch.stack(squares).sum()


class AddTheta0(nn.Module):
    """Compute the parameter ``p = theta + theta_0`` that the model uses.

    Parameters
    ----------
    theta_0 : Tensor
        That of the parameter, of its shape.
    """

    theta_0: Tensor

    def __init__(self, theta_0: Tensor) -> None:
        super().__init__()
        self.register_buffer("theta_0", theta_0)

    def forward(self, theta: Tensor) -> Tensor:
        """Return p."""
        return theta + self.theta_0

    def right_inverse(self, p: Tensor) -> Tensor:
        """Return the theta that gives p."""
        return p - self.theta_0


def parametrize_(model: nn.Module, theta_0: Params) -> None:
    """Let the model compute with ``theta + theta_0``: third form, the paper's.

    The optimizer sees theta, and its own ``weight_decay`` does the rest; where D is not 1, with
    `add_D_` before each step.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    theta_0 : dict of str to Tensor
        From `draw`.
    """
    for name in theta_0:
        path, _, attribute = name.rpartition(".")
        parametrize.register_parametrization(
            model.get_submodule(path), attribute, AddTheta0(theta_0[name])
        )


@torch.no_grad()
def add_D_(model: nn.Module, D: Params, weight_decay: float) -> None:
    """Add to the gradients what the decay of an optimizer (SGD, Adam) lacks of D: third form.

    Parameters
    ----------
    model : nn.Module
        After `parametrize_` and ``backward()``.
    D : dict of str to Tensor
        From `draw`.
    weight_decay : float
        That of the optimizer.
    """
    thetas = dict(model.named_parameters())
    for name in D:
        path, _, attribute = name.rpartition(".")
        theta = thetas[f"{path}.parametrizations.{attribute}.original".lstrip(".")]
        if theta.grad is not None:
            theta.grad += weight_decay * (D[name] - 1) * theta
