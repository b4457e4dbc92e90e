"""Checks for the chapter "When not to"."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Verdict, check_function, check_number


def check_when_not_to_share(answer: object) -> Verdict:
    """Check the share of the bias that is left, of exercise 1.

    Parameters
    ----------
    answer : object
        The reader's number.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_when_not_to_share(0.02 / 0.21)
    Not yet. The curvature of c w^2 is not c: take the second derivative.
    """
    decay, variance = 0.02, 0.19
    return check_number(
        answer,
        decay / (decay + 2 * variance),
        what="The share",
        hints=[
            (
                decay / (decay + variance),
                "The curvature of c w^2 is not c: take the second derivative.",
            ),
            (decay / (2 * variance), "Nearly: the decay itself stands in the denominator, too."),
            (
                2 * variance / (decay + 2 * variance),
                "That is the share that is lost: the loss wants the plane.",
            ),
            (
                decay / 2 / (decay / 2 + 2 * variance),
                "`weight_decay` is the whole force: it is not halved again.",
            ),
            (
                decay / (decay - 2 * variance),
                "The loss curves upwards here: its curvature is positive.",
            ),
            (5, "In per cent? Give the share as a number between 0 and 1."),
            (0, "Something is left: the decay pulls to the bias, however weakly."),
        ],
        right="The noisier the views in a direction, the less of the bias survives there.",
    )


def check_when_not_to_trapped(answer: object) -> Verdict:
    """Check the number of trapped pairs of exercise 2.

    Parameters
    ----------
    answer : object
        The reader's function of (g, weight_decay).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_when_not_to_trapped(lambda g, weight_decay: (g > weight_decay).sum())
    Not yet. A negative slope calls as well: it asks for a positive coefficient.
    """
    slopes = torch.tensor([-3.0, 0.5, 2.0, -0.1, 0.0, 1.0], dtype=torch.float64)
    return check_function(
        answer,
        _trapped,
        {
            "a decay of 0.3": (slopes, 0.3),
            "a decay of 0.75": (slopes, 0.75),
            "a decay that equals one of the slopes": (slopes, 1.0),
            "a decay that outweighs all": (slopes, 10.0),
            "no decay": (slopes, 0.0),
        },
        what="The number of trapped pairs",
        hints=[
            (
                lambda g, weight_decay: int((g > weight_decay).sum()),
                "A negative slope calls as well: it asks for a positive coefficient.",
            ),
            (
                lambda g, weight_decay: int((g < -weight_decay).sum()),
                "A positive slope calls as well: it asks for a negative coefficient.",
            ),
            (
                lambda g, weight_decay: int((g.abs() <= weight_decay).sum()),
                "Those are the pairs whose zero is the optimum: count the others.",
            ),
            (
                lambda g, weight_decay: int((g.abs() >= weight_decay).sum()),
                "Where the call equals the decay the curvature is zero: nothing falls away there.",
            ),
            (
                lambda g, weight_decay: int((g.abs() > weight_decay / 2).sum()),
                "`weight_decay` is the whole force, twice gamma: do not halve it.",
            ),
            (
                lambda g, weight_decay: int((g.abs() > 2 * weight_decay).sum()),
                "`weight_decay` is twice gamma already: do not double it.",
            ),
            (lambda g, weight_decay: int((g != 0).sum()), "The decay has to be outweighed."),
            (lambda g, weight_decay: len(g), "Not every dead pair is trapped: compare slopes."),
            (
                lambda g, weight_decay: (g.abs() > weight_decay).double().mean(),
                "That is their share: return how many there are.",
            ),
        ],
        right="You can count them before you try any remedy.",
    )


def check_when_not_to_explained(answer: object) -> Verdict:
    """Check the share of the gain that a control explains, of exercise 3.

    Parameters
    ----------
    answer : object
        The reader's function of (plain, syre, control).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_when_not_to_explained(lambda plain, syre, control: control.mean() / syre.mean())
    Not yet. Those are the scores themselves: compare gains over plain decay.
    """

    def scores(*values: float) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    plain = scores(0.60, 0.70, 0.65, 0.66)
    return check_function(
        answer,
        _explained,
        {
            "a control that explains most": (
                plain,
                scores(0.80, 0.72, 0.85, 0.81),
                scores(0.79, 0.76, 0.80, 0.78),
            ),
            "a control that does nothing": (plain, plain + 0.2, plain),
            "a control that does better": (
                plain,
                plain + scores(0.1, 0.2, 0.1, 0.05),
                plain + scores(0.3, 0.2, 0.1, 0.1),
            ),
            "a control that does harm": (plain, plain + scores(0.2, 0.1, 0.1, 0.2), plain - 0.1),
        },
        what="The share",
        hints=[
            (
                lambda plain, syre, control: control.mean() / syre.mean(),
                "Those are the scores themselves: compare gains over plain decay.",
            ),
            (
                lambda plain, syre, control: ((control - plain) / (syre - plain)).mean(),
                "A mean of ratios: one seed with a small gain decides it. Take the ratio of means.",
            ),
            (
                lambda plain, syre, control: (control - plain) / (syre - plain),
                "One number is asked for, for all seeds together: the ratio of the mean gains.",
            ),
            (
                lambda plain, syre, control: (syre - control).mean() / (syre - plain).mean(),
                "That is what the control does not explain.",
            ),
            (
                lambda plain, syre, control: (syre - plain).mean() / (control - plain).mean(),
                "Upside down: the gain of syre is the whole.",
            ),
            (
                lambda plain, syre, control: (control - plain).mean(),
                "That is the control's gain. Which share of syre's is it?",
            ),
            (
                lambda plain, syre, control: min(1.0, max(0.0, _explained(plain, syre, control))),
                "Do not cut it off: a control may do better than syre, or do harm.",
            ),
        ],
        right="Report it beside the gain itself.",
    )


def _trapped(g: Tensor, weight_decay: float) -> int:
    return int((g.abs() > weight_decay).sum())


def _explained(plain: Tensor, syre: Tensor, control: Tensor) -> float:
    return float((control - plain).mean() / (syre - plain).mean())
