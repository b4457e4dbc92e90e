"""A Sphinx extension: the icons that a page uses, drawn in the page.

The theme loads a script with all of Font Awesome's icons, 1.5 MB on every page, to draw a dozen of
them. Here each is drawn where it stands, when the site is built, from the same script's data
(Font Awesome Free, icons under CC BY 4.0), and the script is left out.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

_SCRIPT = re.compile(
    r"<script[^>]*fontawesome\.js[^>]*></script>\s*|<link[^>]*fontawesome\.js[^>]*>\s*"
)
_ICON = re.compile(r'<i class="([^"]*\bfa-[^"]*)"([^>]*)></i>')
# name:[width,height,[other names],"code","outline"], whose name may stand in quotation marks.
_DRAWN = r'[{{,]"?{name}"?:\[(\d+),(\d+),\[[^]]*\],"[0-9a-f]+","([^"]+)"\]'
# Words of a class that say how an icon looks, and not which it is.
_LOOKS = {"fa-lg", "fa-solid", "fa-regular", "fa-brands"}


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    app.connect("build-finished", draw_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def draw_icons(app: Any, exception: Exception | None) -> None:
    """Draw the icons of all pages, and leave the script out of them."""
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for page in out.rglob("*.html"):
        text = page.read_text()
        drawn = _ICON.sub(lambda found: svg(found[1], found[2]), _SCRIPT.sub("", text))
        if drawn != text:
            page.write_text(drawn)
    for file in out.glob("_static/scripts/fontawesome.js*"):
        file.unlink()


def svg(classes: str, attributes: str = "") -> str:
    """Return an icon as a drawing.

    Parameters
    ----------
    classes : str
        As in the theme's pages, such as ``fa-solid fa-bars``.
    attributes : str
        What else the element has. Default: nothing.

    Returns
    -------
    str
        An ``svg`` element of the same classes.

    Raises
    ------
    ValueError
        If the icon is not known.
    """
    name = next(c for c in classes.split() if c.startswith("fa-") and c not in _LOOKS)
    found = re.search(_DRAWN.format(name=re.escape(name.removeprefix("fa-"))), _outlines())
    if not found:
        raise ValueError(f"the icon {name!r} is not in the theme's script; name one that is")
    width, height, outline = found.groups()
    return (
        f'<svg class="svg-inline--fa {" ".join(classes.split())}"{attributes} aria-hidden="true" '
        f'focusable="false" viewBox="0 0 {width} {height}">'
        f'<path fill="currentColor" d="{outline}"></path></svg>'
    )


@cache
def _outlines() -> str:
    scripts = files("pydata_sphinx_theme") / "theme/pydata_sphinx_theme/static/scripts"
    return (scripts / "fontawesome.js").read_text()
