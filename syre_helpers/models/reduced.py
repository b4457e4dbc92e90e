r"""The smaller network that a network on a mirror plane is, exactly.

Dead units can be deleted. Of :math:`k` identical units with incoming parameters :math:`w` and
outgoing weights :math:`a`, one can be kept that computes with :math:`w` and :math:`k a`. Its
gradient with respect to :math:`(w, a)` is :math:`k` times that of one of the copies, so that plain
gradient descent on it would run :math:`k` times faster. Two ways to make the trajectories equal:

- *rescaled*: train :math:`\phi = \sqrt{k} (w, a)`, the arc length along which the copies move
  together. The network computes with :math:`\phi_w / \sqrt{k}` and :math:`\sqrt{k} \phi_a`. Then
  :math:`\nabla_\phi` is :math:`\sqrt{k}` times the gradient of one copy, and gradient descent with
  momentum and weight decay, being linear, moves :math:`\phi` exactly :math:`\sqrt{k}` times as far.
- *tied*: keep :math:`(w, a)` and divide the gradient by :math:`k`. This is exact for every
  optimizer, but the "gradient" is no longer that of the loss of the smaller network.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..symmetry.slices import HiddenLayer, Slice, hidden_layer
from .symmetric_starts import Units, check_groups, check_zero_stays_zero, unit_tensors

FORMS = ("rescaled", "tied")
# The attributes in which a module repeats the number of units that it makes, or reads.
_SIZES_OUT = ("out_features", "out_channels", "num_features")
_SIZES_IN = ("in_features", "in_channels")


def without_units(model: nn.Module, layer: str, units: Units) -> nn.Module:
    """Return the smaller network in which dead units are deleted.

    It computes the same function, and every optimizer takes it along the same trajectory.

    Parameters
    ----------
    model : nn.Module
        Has a plain ``nn.Sequential`` in which the layer is followed by the layer that reads it. It
        is not changed.
    layer : str
        Name of an ``nn.Linear`` or convolution whose outputs are the hidden units.
    units : iterable of int
        The units to delete, as left by `kill_units`.

    Returns
    -------
    nn.Module
        A copy of the same kind and with the same names.

    Raises
    ------
    ValueError
        If the layer or a unit is wrong, a unit is not dead (not all of its weights are 0), the
        activation is not 0 at 0, no unit would be left, or a LayerNorm counts the units.

    Examples
    --------
    >>> from syre_helpers.models import kill_units, mlp
    >>> model = mlp([3, 4, 1])
    >>> kill_units(model, "0", [1, 2])
    >>> without_units(model, "0", [1, 2])
    Sequential(
      (0): Linear(in_features=3, out_features=2, bias=True)
      (1): Tanh()
      (2): Linear(in_features=2, out_features=1, bias=True)
    )
    """
    hidden = hidden_layer(model, layer, None, None)
    (numbers,) = check_groups(hidden, [units], argument="units")
    check_zero_stays_zero(model, hidden)
    for name, (tensor, part) in unit_tensors(model, hidden).items():
        if name not in hidden.buffers and part.of(tensor, numbers).any():
            raise ValueError(
                f"units={numbers} are not all dead: {name} is not 0 there, so the smaller network "
                "would differ; call kill_units first"
            )
    return _select(model, hidden, [u for u in range(hidden.width) if u not in set(numbers)])


def merge_units(
    model: nn.Module, layer: str, groups: Iterable[Units], *, form: str = "rescaled"
) -> nn.Module:
    r"""Return the smaller network in which one unit stands for each group of identical units.

    It computes the same function. From here on SGD, with or without momentum and weight decay,
    takes it along the same trajectory; with ``form="tied"`` so does every other optimizer.

    Parameters
    ----------
    model : nn.Module
        Has a plain ``nn.Sequential`` in which the layer is followed by the layer that reads it. It
        is not changed.
    layer : str
        Name of an ``nn.Linear`` or convolution whose outputs are the hidden units.
    groups : iterable of iterables of int
        The groups that `tie_units` was given. The first unit of each is kept.
    form : {"rescaled", "tied"}, default "rescaled"
        With :math:`k` units in a group: trained is :math:`\sqrt{k}` times the unit's parameters, or
        the parameters themselves with their gradient divided by :math:`k`. See the module's text.

    Returns
    -------
    nn.Module
        A copy with fewer units. The scales are parametrizations (`torch.nn.utils.parametrize`) of
        the tensors that the units own: ``model[0].weight`` is what it computes with, and the
        parameter that is trained is called ``0.parametrizations.weight.original``.

    Raises
    ------
    ValueError
        If the layer, a group or the form is wrong, the units of a group are not identical to the
        last bit, or a LayerNorm counts the units.

    References
    ----------
    Derived for this project; it makes the "lost dimensions" of Ziyin, Xu and Chuang (ICLR 2025)
    exact for permutations.

    Examples
    --------
    >>> from syre_helpers.models import mlp, tie_units
    >>> model, x = mlp([3, 6, 1]), torch.ones(2, 3)
    >>> tie_units(model, "0", [(0, 1, 2), (4, 5)])
    >>> small = merge_units(model, "0", [(0, 1, 2), (4, 5)])
    >>> small[0].weight.shape, torch.allclose(small(x), model(x))
    (torch.Size([3, 3]), True)
    """
    if form not in FORMS:
        raise ValueError(f"form={form!r} is not known; use one of {', '.join(FORMS)}")
    hidden = hidden_layer(model, layer, None, None)
    lists = check_groups(hidden, groups)
    for name, (tensor, part) in unit_tensors(model, hidden).items():
        for first, *others in lists:
            for other in others:
                if not torch.equal(part.of(tensor, [first]), part.of(tensor, [other])):
                    raise ValueError(
                        f"groups: units {first} and {other} differ in {name}, so the smaller "
                        "network would differ; call tie_units first"
                    )
    dropped = {unit for _, *others in lists for unit in others}
    kept = [unit for unit in range(hidden.width) if unit not in dropped]
    sizes = {group[0]: len(group) for group in lists}
    multiplicity = torch.tensor([sizes.get(unit, 1) for unit in kept])
    small = _select(model, hidden, kept)
    for name, part in hidden.slices.items():
        if name not in hidden.buffers:
            _stand_for(small, name, part, multiplicity, form, outgoing=name in hidden.outgoing)
    return small


def _stand_for(
    small: nn.Module, name: str, part: Slice, multiplicity: Tensor, form: str, *, outgoing: bool
) -> None:
    """Make each kept unit's part of one tensor stand for all of its copies."""
    owner, _, attribute = name.rpartition(".")
    module = small.get_submodule(owner)
    tensor = getattr(module, attribute)
    shape = [1] * tensor.ndim
    shape[part.axis] = -1
    k = multiplicity.repeat_interleave(part.block).view(shape).to(tensor)
    if form == "rescaled":
        scale = _Scale(k.sqrt() if outgoing else k.rsqrt(), None)
    else:
        scale = _Scale(
            k if outgoing else torch.ones_like(k), torch.ones_like(k) if outgoing else 1 / k
        )
    if outgoing:
        with torch.no_grad():
            tensor.mul_(k)  # the next layer reads all k copies
    # `unsafe` only skips a trial run; shape and dtype are kept.
    parametrize.register_parametrization(module, attribute, scale, unsafe=True)


class _Scale(nn.Module):
    """Multiply a tensor by `value`, and the gradient by `gradient` where it is given."""

    value: Tensor
    gradient: Tensor | None

    def __init__(self, value: Tensor, gradient: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("value", value)
        self.register_buffer("gradient", gradient)

    def forward(self, x: Tensor) -> Tensor:
        if self.gradient is None:
            return x * self.value
        return x * self.gradient + (x * (self.value - self.gradient)).detach()

    def right_inverse(self, x: Tensor) -> Tensor:
        return x / self.value


def _select(model: nn.Module, hidden: HiddenLayer, kept: list[int]) -> nn.Module:
    """Return a copy of the model with only the kept units of one layer."""
    if not kept:
        raise ValueError(f"no unit of layer {hidden.name!r} would be left; keep at least one")
    if isinstance(hidden.norm_module, nn.LayerNorm):
        raise ValueError(
            f"layer={hidden.name!r} is followed by a LayerNorm, whose mean and variance count the "
            "units; the smaller network is not exact there"
        )
    small = copy.deepcopy(model)
    for name, (tensor, part) in unit_tensors(model, hidden).items():
        owner, _, attribute = name.rpartition(".")
        module = small.get_submodule(owner)
        chosen = part.of(tensor.detach(), kept)
        if isinstance(tensor, nn.Parameter):
            chosen = nn.Parameter(chosen, requires_grad=tensor.requires_grad)
        setattr(module, attribute, chosen)
        for size in _SIZES_IN if name in hidden.outgoing else _SIZES_OUT:
            if hasattr(module, size):
                setattr(module, size, chosen.shape[part.axis])
    return small
