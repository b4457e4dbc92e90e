"""The diagnosis of a model: is it collapsed, by which road, and what helps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .._checks import check_function, check_model, check_nonnegative
from ..removal.attach import attachments
from ..removal.names import canonical_name, effective_parameters, named_parameters
from ..removal.parametrize import parametrization_of
from ..symmetry import Symmetries
from .classes import classes_of
from .judge import judge
from .observe import Loss, Observed, check_batch, inputs_of, observe
from .planes import Decay
from .report import Report
from .stored import masked
from .units import State, UnitClass


def diagnose(
    model: nn.Module,
    batch: Any,
    *,
    loss: Loss | None = None,
    weight_decay: float | None = None,
    found: Symmetries | None = None,
) -> Report:
    """Return a report on the collapse of a model: by which road, how far, and what helps.

    Parameters
    ----------
    model : nn.Module
        Any model; run once in evaluation mode, and left as it was.
    batch : tensor, tuple or mapping
        What the model is called with: one argument, several, or several by name. With `loss`, a
        pair (inputs, targets), or a mapping. A few hundred samples tell dead units from rare ones.
    loss : callable, optional
        ``loss(output, targets)``, or ``loss(output, batch)`` where the batch is a mapping; a scalar
        to be minimised. It tells whether near units attract. Default: the ``loss`` of the output,
        if it has one.
    weight_decay : float, optional
        The decay of the training, for the rates. Default: that of the syre which the model is
        under, with its ``theta_0``; else unknown.
    found : Symmetries, optional
        What `find_reflections` returned for the model. Default: it is called.

    Returns
    -------
    Report
        Its ``table``, ``verdict``, ``advice``, ``plot()``; what could not be judged is in
        ``left_out``.

    Raises
    ------
    TypeError
        If an argument is of a wrong type.
    ValueError
        If the batch is empty, has NaN in it or is no pair though `loss` is given, the decay is
        negative or not finite, or `found` is of a model with other parameters.

    Notes
    -----
    A class raises an alarm if more than 5% of its units are dead; if two of its units are exact
    copies (of the same sign, or of the opposite one where that is a symmetry), or nearer than 0.1
    (orthogonal units: 1) and than half of what shuffled weights give, and attract each other; or
    if its weights or features have lost exact rank, unless as much as the number of classes minus
    1 is left, as in a well-trained classifier. Of two units there is no shuffled null: exchanging
    scalars between them leaves their distance as it is.

    Modules that may change places (experts in a list, members of an ensemble) are a class whose
    units are all scalars that move with a module. A module is dead if all its weights are next to
    0 and have no gradient there, or if nothing reads it. Features and ranks of modules are NaN, and
    a copy whose own hidden units stand in another order is not seen.

    The rates are those of gradient descent; adaptive optimizers have others.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    >>> report = diagnose(model, torch.randn(256, 8))
    >>> report.verdict
    'No sign of collapse in 16 units of 1 class.'
    """
    check_model("model", model)
    if loss is not None:
        check_function("loss", loss)
    if weight_decay is not None:
        check_nonnegative("weight_decay", weight_decay)
    check_batch(batch, loss)
    left_out: list[tuple[str, str]] = []
    state = masked(_state(model))
    classes = classes_of(model, inputs_of(batch, loss), found, state, left_out)
    seen = observe(model, classes, batch, loss)
    decay = _decay(model, weight_decay)
    findings = judge(classes, state, seen, decay)
    if found is not None:
        seen.several = 1  # whoever looked for them said what counts
    left_out += _left_out(classes, seen, decay) + seen.left_out
    classifies = seen.labels or (not seen.targets and (seen.outputs or 0) > 1)
    return Report(findings, seen.outputs, classifies, decay, left_out)


def _decay(model: nn.Module, weight_decay: float | None) -> Decay | None:
    """Return the decay that was given, or that of the syre which the model is under."""
    named = named_parameters(model)
    theta_0: dict[str, Tensor] = {}
    found: set[float] = set()
    for name, parameter in named.items():
        adding = parametrization_of(parameter)
        if adding is not None:
            theta_0[name] = adding.theta_0
            found.add(adding.weight_decay)
    own: dict[Tensor, str] = {
        p: n for n, p in named.items()
    }  # the syre may be that of a larger model
    for attachment in attachments():
        theirs = {name: p for name, p in attachment.named.items() if p in own}
        pull = getattr(attachment.apply, "pull", None)
        if not theirs or pull is None:
            continue
        pull = pull(theirs) if callable(pull) else pull
        theta_0 |= {own[p]: pull.centre[name] for name, p in theirs.items() if name in pull.centre}
        found.add(float(pull.weight_decay))
    if weight_decay is not None:
        return Decay(weight_decay, theta_0)
    return Decay(max(found), theta_0) if found else None


def _state(model: nn.Module) -> State:
    """Return the effective parameters and the buffers of a model, in the order of its modules."""
    params = effective_parameters(model)
    buffers = {canonical_name(name): buffer for name, buffer in model.named_buffers()}
    order = {canonical_name(name): number for number, (name, _) in enumerate(model.named_modules())}
    both: dict[str, Tensor] = {**params, **buffers}
    return dict(sorted(both.items(), key=lambda one: order.get(one[0].rpartition(".")[0], 0)))


def _left_out(
    classes: Sequence[UnitClass], seen: Observed, decay: Decay | None
) -> list[tuple[str, str]]:
    """Return the gaps in what is known of the classes, and how to fill them."""
    said = []
    unseen = [
        units.name
        for units, one in zip(classes, seen.features, strict=True)
        if one is None and units.vectors is None and "module swap" not in units.kinds
    ]
    if unseen and seen.outputs is not None:
        said.append(
            (
                f"features of {', '.join(unseen[:5])}{' and others' if len(unseen) > 5 else ''}",
                "no module of a known kind was seen to make or read them",
            )
        )
    if seen.several > 1:
        said.append(
            (
                f"units of the {seen.several} tensors that the model returns",
                "each is held in its place. Where the loss treats them alike, as the latents of a "
                "VAE, pass found=sh.find_reflections(model, inputs, outputs=...)",
            )
        )
    if seen.gradient is None and not any(what == "the gradient" for what, _ in seen.left_out):
        said.append(("whether near units attract", "that takes a gradient; pass loss=..."))
    if seen.gradient is not None and decay is None:
        said.append(("decay", "not known, so the rates are without it; pass weight_decay=..."))
    return said
