"""Print the built site as one PDF, by headless Chromium: `python -m tools.publish.pdf`.

With a cover, a list of chapters with their pages, bookmarks, links that stay inside, and page
numbers. The landing page links to it from the next build on (`make pdf` does both).
"""

from __future__ import annotations

import html
import re
import sys
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from tools.build import chapters, files
from tools.publish import onepage
from tools.site_checks import browser

# At the top of the site, so that its style sheets and pictures are found; there only meanwhile.
PRINTED = "print.html"
NUMBER = """pages => document.querySelectorAll('.print-contents a').forEach(link => {
  const page = pages[link.hash.slice(1)] ?? '';
  link.insertAdjacentHTML('beforeend', `<span class="number">${page}</span>`);
})"""
STYLE = Path(__file__).with_name("print.css")


def main() -> int:
    """Print the site."""
    if not (chapters.HTML / "index.html").exists():
        print("No page is there: `make book` first.")
        return 1
    made = onepage.document(
        onepage.parts(chapters.ROOT / "_toc.yml"),
        lambda page: (chapters.HTML / f"{page}.html").read_text(),
        cover(),
        STYLE.read_text(),
    )
    printed = printed_by_chromium(made)
    files.write(chapters.PDF, printed)
    print(f"{len(printed) / 1e6:.1f} MB: {chapters.PDF}")
    return 0


def cover() -> str:
    """Return the first page."""
    settings = yaml.safe_load((chapters.ROOT / "_config.yml").read_text())
    lines = [
        f"<h1>{html.escape(settings['title'])}</h1>",
        f"<p>{html.escape(settings['author'])}</p>",
        '<img src="_static/landing-still.webp" alt="">',
        f"<p>Printed from the site on {date.today():%d %B %Y}</p>",
        f"<p>{settings['html']['extra_footer']}</p>",
    ]
    return f'<div class="print-cover">{"".join(lines)}</div>'


def printed_by_chromium(document: str) -> bytes:
    """Return a document on paper, with formulas, and with page numbers in its contents."""
    file = chapters.HTML / PRINTED
    files.write(file, document)
    try:
        with browser.opened(chapters.HTML) as (chromium, site):
            tab = chromium.new_page(color_scheme="light")
            browser.show(tab, site + PRINTED)
            # Only a print tells the pages; the numbers take no line of their own.
            tab.evaluate(NUMBER, page_numbers(on_paper(tab)))
            return on_paper(tab)
    finally:
        file.unlink(missing_ok=True)


def on_paper(tab: Any) -> bytes:
    """Return a page as a browser prints it to PDF."""
    return tab.pdf(prefer_css_page_size=True, print_background=True, outline=True, tagged=True)


def page_numbers(pdf: bytes) -> dict[str, int]:
    """Return the page of each place that a link leads to, in a PDF as Chromium writes it."""
    sheets = sorted(int(n) for n in re.findall(rb"(\d+) 0 obj\s*<</Type /Page\s", pdf))
    numbers = {sheet: number for number, sheet in enumerate(sheets, 1)}
    places = re.findall(rb"/([\w-]+) \[(\d+) 0 R /XYZ ", pdf)
    return {name.decode(): numbers[int(sheet)] for name, sheet in places}


if __name__ == "__main__":
    sys.exit(main())
