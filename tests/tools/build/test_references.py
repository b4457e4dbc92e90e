"""What the text names is a link: figures and equations, here and on other pages."""

import pytest
from sphinx.testing.util import SphinxTestApp

from tools.build import references

PAGE = """# Figure 1 in a heading

See Figure 1, Figures 1 and 2, and
figure 1; equation (1), equations (1), (2) and (3), `Figure 1`, $Figure 1$, [Figure 1](other.md).

- In a list: Equation (2), and **Figure 2**.

| table |
| --- |
| Figure
 2 |
| of Figure 2 |

Figure 2 of [Other](other.md), equation (7) of *[Other](other.md#part)*, Figures 3 and 4 of
[Other](other.md). Figure 2 of the paper, Figure 2 of [theirs](https://example.org), Figure 5.

$$ a = b \\tag{1} $$

$$
\\begin{aligned} a &= b \\\\ c &= d \\end{aligned} \\tag{2}
$$

$$ a = c $$

```
Figure 1
```

```{raw} html
<figure class="syre-captioned" id="figure-1"></figure><figure id="figure-2"></figure>
```
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page as a browser gets it."""
    from bs4 import BeautifulSoup

    folder = tmp_path_factory.mktemp("source")
    (folder / "conf.py").write_text(
        "extensions = ['myst_parser', 'sphinx.ext.mathjax', 'tools.build.references']\n"
        "myst_enable_extensions = ['dollarmath']\nmyst_heading_anchors = 3\nroot_doc = 'page'\n"
        "suppress_warnings = ['toc.not_included']\n"
    )
    (folder / "page.md").write_text(PAGE)
    (folder / "other.md").write_text("# Other\n\n## Part\n\nNothing: Figure 1.\n")
    app = SphinxTestApp("html", srcdir=folder, freshenv=False)
    app.build()
    app.cleanup()
    return BeautifulSoup((folder / "_build" / "html" / "page.html").read_text(), "html.parser")


def test_what_is_on_the_page_is_linked_where_it_is_named(page):
    links = [
        (" ".join(a.get_text().split()), a["href"])
        for a in page.select(".body a.reference")
        if a["href"].startswith("#")
    ]
    assert links == [
        ("Figure 1", "#figure-1"),
        ("1", "#figure-1"),
        ("2", "#figure-2"),
        ("equation (1)", "#equation-1"),
        ("(1)", "#equation-1"),
        ("(2)", "#equation-2"),
        ("Equation (2)", "#equation-2"),
        ("Figure 2", "#figure-2"),
        ("Figure 2", "#figure-2"),
    ]
    assert not page.select("h1 a.reference, code a, pre a, .math a")


def test_of_another_page_leads_there_and_of_anything_else_nowhere(page):
    links = [
        (" ".join(a.get_text().split()), a["href"])
        for a in page.select(".body a.reference")
        if a["href"].startswith("other.html#")
    ]
    assert links == [
        ("Figure 2", "other.html#figure-2"),
        ("equation (7)", "other.html#equation-7"),
        ("Other", "other.html#part"),
        ("3", "other.html#figure-3"),
        ("4", "other.html#figure-4"),
    ]


def test_numbered_equations_are_places_and_are_set_as_they_are_written(page):
    one, two, plain = page.select(".body div.math")
    assert (one["id"], two["id"]) == ("equation-1", "equation-2")
    assert one.get_text().strip() == r"\[ a = b \tag{1} \]"
    assert "split" not in two.get_text()
    assert two.get_text().strip().endswith("\\tag{2}\n\\]")
    assert not plain.get("id")


def test_a_text_names_things_by_words_or_by_numbers():
    text = "Figures 1, 2 and 3 of it; Figure 4, 64 units; equation 5; Figure 6"
    assert [(m.place, text[m.start : m.end]) for m in references.mentions(text)] == [
        ("figure-1", "1"),
        ("figure-2", "2"),
        ("figure-3", "3"),
        ("figure-4", "Figure 4"),
        ("figure-6", "Figure 6"),
    ]
    assert [m.after[:6] for m in references.mentions(text)][:3] == [" of it"] * 3
