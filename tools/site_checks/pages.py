"""Which built pages are looked at."""

from __future__ import annotations

from tools.build import api, chapters

BUILT = sorted(
    str(f.relative_to(chapters.HTML / "book").with_suffix(""))
    for f in (chapters.HTML / "book").rglob("*.html")
)
# The pages of single names are made from one template: of these, one in twelve.
SINGLE = [page for page in BUILT if page.startswith(f"{api.FOLDER}/")]
PAGES = [page for page in BUILT if page not in SINGLE] + SINGLE[::12]
CHAPTERS = [name for name in chapters.chapters() if name in PAGES]
PHONE = {"width": 390, "height": 844}


def address(site: str, page: str) -> str:
    """Return the address of a page on the server."""
    return f"{site}book/{page}.html"
