"""One colour, line style and marker an arm, the same in the whole book.

The colours were searched for under these conditions, which the tests check: a contrast of at least
3 to 1 with white and with the dark page; all arms apart in normal vision; the six that are shown
most often well apart under deuteranopia too (Machado, Oliveira and Fernandes 2009), the others by
their markers.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass, replace

Dash = str | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class Look:
    """How an arm is drawn: colour as ``#rrggbb``, matplotlib's line style and marker."""

    colour: str
    dash: Dash
    marker: str


_LONG_DASH: Dash = (0, (6, 1.5))
_DASH_DOT: Dash = (0, (5, 1.5, 1, 1.5))
_LOOKS = {
    "vanilla": Look("#877e82", (0, (1, 1)), "o"),
    "plain decay": Look("#ff5807", (0, (3, 1.5)), "s"),
    # the remedy: solid
    "syre": Look("#0675b4", "-", "o"),
    "syre + D": Look("#7350ff", "-", "D"),
    # rivals: dash and dot
    "W-fix": Look("#1f8047", _DASH_DOT, "^"),
    "pull to start": Look("#a740ab", _DASH_DOT, "v"),
    "shrink and perturb": Look("#767ddd", _DASH_DOT, "P"),
    # controls: long dashes
    "D only": Look("#d667d2", _LONG_DASH, "d"),
    "shift only": Look("#b64f1e", _LONG_DASH, "<"),
    "perturbed once": Look("#ea0a57", _LONG_DASH, "X"),
    "resampled bias": Look("#2da309", _LONG_DASH, "p"),
    "symmetric bias": Look("#bb8728", _LONG_DASH, ">"),
    "bias added after": Look("#17a491", _LONG_DASH, "h"),
}
# For arms that the book has no name for, in order of appearance.
_SPARE = (Look("#9c5b6f", "-", "*"), Look("#5f7f8c", "-", "8"), Look("#7d8a2e", "-", "H"))


def arm_palette(names: Iterable[object]) -> dict[str, str]:
    """Return a colour for each arm.

    A variant, such as "syre 0.1" or "W-fix 30%", has the colour of the longest known name that it
    begins with. Where several variants of one arm are asked for, they get shades of it, from dark
    to light in the order given. Names that are not known get spare colours, in order of appearance.

    Parameters
    ----------
    names : iterable of str
        Arms; repetitions do no harm.

    Returns
    -------
    dict of str to str
        Colours as ``#rrggbb``.

    Raises
    ------
    ValueError
        If a name is not a string, or empty.

    Examples
    --------
    >>> arm_palette(["syre", "plain decay"])
    {'syre': '#0675b4', 'plain decay': '#ff5807'}
    >>> arm_palette(["syre + D 0.1"])["syre + D 0.1"] == arm_palette(["syre + D"])["syre + D"]
    True
    """
    return {name: look.colour for name, look in arm_looks(names).items()}


def arm_looks(names: Iterable[object]) -> dict[str, Look]:
    """Return colour, line style and marker of each arm; as `arm_palette`, which see.

    Parameters
    ----------
    names : iterable of str
        Arms.

    Returns
    -------
    dict of str to Look
        In the order of first appearance.

    Raises
    ------
    ValueError
        If a name is not a string, or empty.

    Examples
    --------
    >>> arm_looks(["W-fix 30%"])["W-fix 30%"].marker
    '^'
    """
    families: dict[str, list[str]] = {}
    ordered: list[str] = []
    for name in dict.fromkeys(names):
        if not isinstance(name, str) or not name:
            raise ValueError(f"names: {name!r} is no arm's name; use non-empty strings")
        ordered.append(name)
        families.setdefault(_family(name), []).append(name)
    unknown = [family for family in families if family not in _LOOKS]
    looks: dict[str, Look] = {}
    for family, members in families.items():
        look = _LOOKS.get(family) or _SPARE[unknown.index(family) % len(_SPARE)]
        variants = [name for name in members if name != family]
        if family in members:
            looks[family] = look
            shades = _shades(look, len(variants) + 1)[1:]
        else:
            shades = _shades(look, len(variants))
        looks |= dict(zip(variants, shades, strict=True))
    return {name: looks[name] for name in ordered}


def _family(name: str) -> str:
    """Return the longest known arm that is the name or its beginning, up to a space or comma."""
    known = [arm for arm in _LOOKS if name == arm or name.startswith((f"{arm} ", f"{arm},"))]
    return max(known, key=len, default=name)


def _shades(look: Look, count: int) -> list[Look]:
    """Return a look as it is, or variants that differ in lightness, hue and marker."""
    if count < 2:
        return [look] * count
    red, green, blue = (int(look.colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    hue, _, saturation = colorsys.rgb_to_hls(red, green, blue)
    # Contrast with both pages bounds the luminance, which leaves little room for lightness alone.
    shades = []
    for k in range(count):
        share = k / (count - 1)
        turned = (hue + 0.09 * (0.5 - share)) % 1
        target = _DARKEST + share * (_LIGHTEST - _DARKEST)
        shades.append(_with_luminance(turned, saturation, target))
    markers = (look.marker, *(m for m in "oXs^DvP" if m != look.marker))
    return [
        replace(look, colour=colour, marker=markers[k % len(markers)])
        for k, colour in enumerate(shades)
    ]


# Relative luminance (WCAG 2) with a contrast of 3.1 to #14181e, and to white.
_DARKEST, _LIGHTEST = 0.134, 0.286


def _with_luminance(hue: float, saturation: float, target: float) -> str:
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        if _luminance(colorsys.hls_to_rgb(hue, middle, saturation)) < target:
            low = middle
        else:
            high = middle
    return "#" + "".join(f"{round(255 * v):02x}" for v in colorsys.hls_to_rgb(hue, low, saturation))


def _luminance(rgb: tuple[float, float, float]) -> float:
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
