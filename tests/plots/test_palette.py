"""One colour per method, shaded by strength: apart from each other, and seen on both pages."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from syre_helpers import arms
from syre_helpers.plots import NEUTRAL, arm_palette, arm_styles
from syre_helpers.plots.palette import METHODS, SPARE

WHITE, DARK = "#ffffff", "#14181e"
OFTEN = ["vanilla", "plain decay", "W-fix", "syre", "syre + D", "D only"]
SIGMAS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
FRACTIONS = [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0]
SCALES = {
    "syre": [arms.syre(0.1, sigma) for sigma in SIGMAS],
    "syre + D": [arms.syre(0.1, sigma_0=sigma, sigma_D=sigma / 10) for sigma in SIGMAS],
    "W-fix": [arms.weight_fix(fraction, 0.1) for fraction in FRACTIONS],
}

NORMAL = np.eye(3)
# Machado, Oliveira and Fernandes (2009), severity 1
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    """Contrast ratio of two colours, as WCAG 2 defines it."""
    high, low = sorted((linear(c) @ [0.2126, 0.7152, 0.0722] for c in (a, b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def smallest_distance(colours, seen=NORMAL):
    points = [OKLAB @ np.cbrt(CONES @ np.clip(seen @ linear(c), 0, 1)) for c in colours]
    return min(np.linalg.norm(a - b) for k, a in enumerate(points) for b in points[:k])


SHADES = [c for scale in SCALES.values() for c in arm_palette(scale).values()]


@pytest.mark.parametrize(("page", "of_text"), [(WHITE, 4.5), (DARK, 3.9)])
def test_text_and_all_colours_have_contrast_with_both_pages(page, of_text):
    assert contrast(NEUTRAL, page) >= of_text
    for colour in (*arm_palette(METHODS).values(), *SPARE, *SHADES):
        assert contrast(colour, page) >= 3, colour


def test_methods_are_apart_also_for_the_colour_blind():
    palette = arm_palette(METHODS)
    assert smallest_distance(palette.values()) > 0.09
    assert smallest_distance([palette[arm] for arm in OFTEN], seen=DEUTERANOPIA) > 0.08
    # No two methods have both the same colour (nearly, for the colour-blind) and the same marker.
    assert len({(style.dash, style.marker) for style in METHODS.values()}) == len(METHODS)


@pytest.mark.parametrize("colour", [*arm_palette(METHODS).values(), *SHADES])
def test_spare_colours_are_no_arms(colour):
    assert smallest_distance([*SPARE, colour]) > 0.06


@pytest.mark.parametrize("method", SCALES)
def test_shade_and_marker_follow_from_the_strength_alone(method):
    scale = SCALES[method]
    styles = arm_styles(scale)
    assert smallest_distance([style.colour for style in styles.values()]) > 0.011
    assert len({style.marker for style in styles.values()}) == len(scale)
    for arm in scale:
        assert arm_styles([arm]) == {arm.label: styles[arm.label]}
    table = pd.DataFrame([{"arm": arm.label} | arm.settings() for arm in scale])
    assert arm_styles(table) == styles


def test_settings_that_are_no_strength_keep_the_colour():
    decays = [arms.plain_decay(0.1 * k, variant=str(k)) for k in range(1, 8)]
    styles = arm_styles(decays)
    assert {style.colour for style in styles.values()} == {METHODS["plain decay"].colour}
    assert len({style.marker for style in styles.values()}) == len(decays)
    assert styles["plain decay, 1"] == METHODS["plain decay"]


def test_a_name_is_never_taken_apart():
    palette = arm_palette(["syre", "syre 10%", "x", "y", "z", "u", "v"])
    assert palette.pop("syre") == METHODS["syre"].colour
    assert tuple(palette.values()) == SPARE
    assert len(set(arm_styles(map(str, range(30))).values())) == 30


def test_a_table_is_read_where_its_column_is_that_of_arms(runs):
    table = runs("a", "b").assign(sigma_ratio=0.1, optimizer="Adam")
    table["method"] = table["arm"].map({"a": "syre"})
    syre = arm_palette([arms.syre(0.1, 0.1)])["syre 10%"]
    assert arm_palette(table) == {"a": syre, "b": SPARE[0]}
    assert arm_palette(table, "optimizer") == {"Adam": SPARE[0]}
    # A strength that varies within an arm is the horizontal axis.
    varied = table[table["arm"] == "a"].assign(sigma_ratio=lambda t: t["seed"] + 1.0)
    assert arm_styles(varied)["a"] == METHODS["syre"]


@pytest.mark.parametrize("name", ["", None, 3])
def test_wrong_names(name):
    with pytest.raises(ValueError, match=f"{name!r} is no label"):
        arm_palette(["syre", name])
