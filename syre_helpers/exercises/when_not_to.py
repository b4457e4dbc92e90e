"""The exercises of the chapter "When not to"."""

from torch import Tensor

from ._declare import Function, Number, float64

_DECAY, _VARIANCE = 0.02, 0.19
_SLOPES = float64(-3.0, 0.5, 2.0, -0.1, 0.0, 1.0)
_PLAIN = float64(0.60, 0.70, 0.65, 0.66)


def _explained(plain: Tensor, syre: Tensor, control: Tensor) -> float:
    return float((control - plain).mean() / (syre - plain).mean())


check_when_not_to_share = Number(
    what="The share",
    right=_DECAY / (_DECAY + 2 * _VARIANCE),
    praise="The noisier the views in a direction, the less of the bias survives there.",
    mistakes={
        "The curvature of nu w^2 is not nu: take the second derivative.": (
            _DECAY / (_DECAY + _VARIANCE)
        ),
        "Nearly: the decay itself stands in the denominator, too.": _DECAY / (2 * _VARIANCE),
        "That is the share that is lost: the loss wants the plane.": (
            2 * _VARIANCE / (_DECAY + 2 * _VARIANCE)
        ),
        "`weight_decay` is the whole force: it is not halved again.": (
            _DECAY / 2 / (_DECAY / 2 + 2 * _VARIANCE)
        ),
        "The loss curves upwards here: its curvature is positive.": (
            _DECAY / (_DECAY - 2 * _VARIANCE)
        ),
        "In per cent? Give the share as a number between 0 and 1.": 5,
        "Something is left: the decay pulls to the bias, however weakly.": 0,
    },
)

check_when_not_to_trapped = Function(
    what="The number of trapped pairs",
    right=lambda g, decay: (g.abs() > decay).sum(),
    cases={
        "a decay of 0.3": (_SLOPES, 0.3),
        "a decay of 0.75": (_SLOPES, 0.75),
        "a decay that equals one of the slopes": (_SLOPES, 1.0),
        "a decay that outweighs all": (_SLOPES, 10.0),
        "no decay": (_SLOPES, 0.0),
    },
    praise="You can count them before you try any remedy.",
    mistakes={
        "A negative slope calls as well: it asks for a positive coefficient.": lambda g, wd: (
            g > wd
        ).sum(),
        "A positive slope calls as well: it asks for a negative coefficient.": lambda g, wd: (
            g < -wd
        ).sum(),
        "Those are the pairs whose zero is the optimum: count the others.": lambda g, wd: (
            g.abs() <= wd
        ).sum(),
        "Where the call equals the decay the curvature is zero: "
        "nothing falls away there.": lambda g, wd: (g.abs() >= wd).sum(),
        "`weight_decay` is the whole force, twice gamma: do not halve it.": lambda g, wd: (
            g.abs() > wd / 2
        ).sum(),
        "`weight_decay` is twice gamma already: do not double it.": lambda g, wd: (
            g.abs() > 2 * wd
        ).sum(),
        "The decay has to be outweighed.": lambda g, wd: (g != 0).sum(),
        "Not every dead pair is trapped: compare slopes.": lambda g, wd: len(g),
        "That is their share: return how many there are.": lambda g, wd: (
            (g.abs() > wd).double().mean()
        ),
    },
)

check_when_not_to_explained = Function(
    what="The share",
    right=_explained,
    cases={
        "a control that explains most": (
            _PLAIN,
            float64(0.80, 0.72, 0.85, 0.81),
            float64(0.79, 0.76, 0.80, 0.78),
        ),
        "a control that does nothing": (_PLAIN, _PLAIN + 0.2, _PLAIN),
        "a control that does better": (
            _PLAIN,
            _PLAIN + float64(0.1, 0.2, 0.1, 0.05),
            _PLAIN + float64(0.3, 0.2, 0.1, 0.1),
        ),
        "a control that does harm": (_PLAIN, _PLAIN + float64(0.2, 0.1, 0.1, 0.2), _PLAIN - 0.1),
    },
    praise="Report it beside the gain itself.",
    mistakes={
        "Those are the scores themselves: compare gains over plain decay.": lambda p, s, c: (
            c.mean() / s.mean()
        ),
        "A mean of ratios: one seed with a small gain decides it. "
        "Take the ratio of means.": lambda p, s, c: ((c - p) / (s - p)).mean(),
        "One number is asked for, for all seeds together: "
        "the ratio of the mean gains.": lambda p, s, c: (c - p) / (s - p),
        "That is what the control does not explain.": lambda p, s, c: 1 - _explained(p, s, c),
        "Upside down: the gain of syre is the whole.": lambda p, s, c: (
            (s - p).mean() / (c - p).mean()
        ),
        "That is the control's gain. Which share of syre's is it?": lambda p, s, c: (c - p).mean(),
        "Do not cut it off: a control may do better than syre, or do harm.": lambda p, s, c: min(
            1.0, max(0.0, _explained(p, s, c))
        ),
    },
)
