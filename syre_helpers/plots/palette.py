"""The style of each arm: a colour per method in the whole book, shaded by the method's strength.

The colours were searched for under these conditions, which the tests check: a contrast of at least
3 to 1 with white and with the dark page; all methods apart in normal vision; the six that are shown
most often well apart under deuteranopia too (Machado, Oliveira and Fernandes 2009), the others by
their markers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

Dash = str | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is drawn.

    Parameters
    ----------
    colour : str
        As ``#rrggbb``.
    dash : str or tuple
        Matplotlib's line style.
    marker : str
        Matplotlib's marker.
    """

    colour: str
    dash: Dash
    marker: str


_SHORT_DASH: Dash = (0, (3, 1.5))
_LONG_DASH: Dash = (0, (6, 1.5))
_DASH_DOT: Dash = (0, (5, 1.5, 1, 1.5))
_DOTS: Dash = (0, (1, 1))
_DASHES: tuple[Dash, ...] = ("-", _SHORT_DASH, _DASH_DOT, _DOTS, _LONG_DASH)

METHODS = {
    "vanilla": ArmStyle("#877e82", _DOTS, "o"),
    "plain decay": ArmStyle("#ff5807", _SHORT_DASH, "s"),
    # the remedy: solid
    "syre": ArmStyle("#0675b4", "-", "o"),
    "syre + D": ArmStyle("#7350ff", "-", "D"),
    # rivals: dash and dot
    "W-fix": ArmStyle("#1f8047", _DASH_DOT, "^"),
    "pull to start": ArmStyle("#a740ab", _DASH_DOT, "v"),
    "shrink and perturb": ArmStyle("#767ddd", _DASH_DOT, "P"),
    "ReDo": ArmStyle("#806800", _DASH_DOT, "*"),
    # controls: long dashes
    "D only": ArmStyle("#d667d2", _LONG_DASH, "d"),
    "shift only": ArmStyle("#b64f1e", _LONG_DASH, "<"),
    "perturbed once": ArmStyle("#ea0a57", _LONG_DASH, "X"),
    "resampled bias": ArmStyle("#2da309", _LONG_DASH, "p"),
    "symmetric bias": ArmStyle("#bb8728", _LONG_DASH, ">"),
    "bias added after": ArmStyle("#17a491", _LONG_DASH, "h"),
}
"""The style of each method of the book, where its strength is not known."""

SPARE = ("#d07080", "#7058a8", "#808848", "#985070", "#a888b8", "#586878")
"""Colours of no method, for all else that a figure shows."""

_SPARE_MARKERS = "XvP*>p"  # unlike each other, and those of the methods that are shown most often

_STRENGTHS = {
    "syre": (("sigma_0", "sigma_ratio"), "#085be9", "#06a1b0"),
    "syre + D": (("sigma_0", "sigma_ratio"), "#514bff", "#a96fff"),
    "W-fix": (("fraction",), "#1c7458", "#3fa060"),
}
"""The settings that are a method's strength, of which the first that is set counts, and the colours
of the lowest and of the highest strength. In the small room that the contrast with both pages
leaves, hue and lightness change together."""

_BY_STRENGTH = "<>posh^DPXv"
"""Markers for strengths from low to high, about a third of a decade of sigma apart."""


def arm_palette(source: Any, arm: str = "arm") -> dict[str, str]:
    """Return the colour of each arm: that of its `arm_styles`, which names the errors.

    Parameters
    ----------
    source : iterable of Arm or str, or DataFrame
        What is drawn.
    arm : str
        Column of the arms in a DataFrame. Default "arm".

    Returns
    -------
    dict of str to str
        Colours as ``#rrggbb``, by label, in the order of first appearance.

    Examples
    --------
    >>> arm_palette(["syre", "plain decay"])
    {'syre': '#0675b4', 'plain decay': '#ff5807'}
    """
    return {label: style.colour for label, style in arm_styles(source, arm).items()}


def arm_styles(source: Any, arm: str = "arm") -> dict[str, ArmStyle]:
    """Return the colour, line style and marker of each arm, by method and strength alone.

    A method has one colour. Arms of "syre" and "syre + D" have shades of it by ``sigma_ratio`` (or
    ``sigma_0``) on a logarithmic scale from 0.001, dark, to 3, light; arms of "W-fix" by
    ``fraction``, from 0 to 1. Other settings do not change the colour: arms that differ in nothing
    else, such as two decays, are told apart by markers and dashes, in order of appearance. What is
    no method has spare colours, in order of appearance.

    Parameters
    ----------
    source : iterable of Arm or str, or DataFrame
        Arms; or names, of which only those of a method have its colour (a name is never taken
        apart: "syre 10%" is not known to be syre); or a table of training, whose columns
        ``method``, ``sigma_ratio``, ``sigma_0`` and ``fraction`` are read where it has them and
        `arm` is "arm". Any other column that is drawn, such as "optimizer", is read as names.
    arm : str
        Column of the arms in a DataFrame. Default "arm".

    Returns
    -------
    dict of str to ArmStyle
        By label, in the order of first appearance.

    Raises
    ------
    ValueError
        If a label is not a string, or empty.

    Examples
    --------
    >>> arm_styles(["W-fix"])["W-fix"].marker
    '^'
    >>> import pandas as pd
    >>> df = pd.DataFrame(
    ...     {
    ...         "arm": ["syre 1%", "syre 100%"],
    ...         "method": "syre",
    ...         "sigma_ratio": [0.01, 1.0],
    ...     }
    ... )
    >>> arm_palette(df)
    {'syre 1%': '#076fd9', 'syre 100%': '#0697b8'}
    """
    styles: dict[str, ArmStyle] = {}
    spare: dict[str, ArmStyle] = {}  # by the method, or by the name that is no method
    taken: dict[str, set[str]] = {}  # markers, by method
    for label, settings in _labels(source, arm):
        if not isinstance(label, str) or not label:
            raise ValueError(f"{label!r} is no label of an arm; use non-empty strings")
        if label in styles:
            continue
        method = settings.get("method", label)
        style = METHODS.get(method) or spare.setdefault(method, _spare(len(spare)))
        style = _shade(style, method, settings)
        used = taken.setdefault(method, set())
        styles[label] = _apart(style, used)
        used.add(styles[label].marker)
    return styles


def _labels(source: Any, arm: str) -> list[tuple[object, Mapping[str, Any]]]:
    """Return the label of each arm, and its settings as far as they are known."""
    if not hasattr(source, "columns"):
        return [(a.label, a.settings()) if hasattr(a, "settings") else (a, {}) for a in source]
    wanted = ("method", "sigma_0", "sigma_ratio", "fraction") if arm == "arm" else ()
    known = source.columns.intersection(wanted)
    labels = []
    for label, rows in source.groupby(arm, sort=False):
        # A setting that varies along the horizontal axis is none of the arm's.
        single = [column for column in known if rows[column].nunique(dropna=False) == 1]
        labels.append((label, rows[single].iloc[0].dropna().to_dict()))
    return labels


def _spare(number: int) -> ArmStyle:
    """Return the style of the arm of this number among those of no known method."""
    return ArmStyle(SPARE[number % 6], _DASHES[number % 5], _SPARE_MARKERS[number % 6])


def _apart(style: ArmStyle, used: set[str]) -> ArmStyle:
    """Return a style with another marker and dash, if its marker is used by the same method."""
    if style.marker not in used:
        return style
    marker = next((m for m in "oXs^DvP*<>ph" if m not in used), style.marker)
    dashes = [style.dash, *(dash for dash in reversed(_DASHES) if dash != style.dash)]
    return replace(style, marker=marker, dash=dashes[len(used) % len(dashes)])


def _shade(style: ArmStyle, method: str, settings: Mapping[str, Any]) -> ArmStyle:
    """Return a style with the colour and the marker of a method's strength, where it is known."""
    columns, *ends = _STRENGTHS.get(method, ((),))
    values = [settings[column] for column in columns if settings.get(column) is not None]
    if not values:
        return style
    strength = float(values[0])
    if method != "W-fix":  # a size of theta_0, from 0.001 to 3
        strength = math.log(max(strength, 1e-3) / 1e-3) / math.log(3e3)
    strength = min(strength, 1.0)
    low, high = (bytes.fromhex(end[1:]) for end in ends)
    mixed = bytes(round(a + strength * (b - a)) for a, b in zip(low, high, strict=True))
    return replace(style, colour=f"#{mixed.hex()}", marker=_BY_STRENGTH[round(10 * strength)])
