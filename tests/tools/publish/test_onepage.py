"""The book as one document to print: what is kept, what moves, and where its links lead."""

import pytest
from bs4 import BeautifulSoup

from tools.build import assemble, chapters
from tools.publish import onepage, pdf

HEAD = """<html><head><title>A book</title>
<link rel="stylesheet" href="../_static/a.css?v=1"><link rel="next" href="x.html">
<script src="../_static/theme.js"></script></head><body><nav>left</nav>"""
FORMULAS = """<script>window.MathJax = {}</script>
<script>MathJax.startup = {pageReady: slowly}</script>
<script src="../../_static/vendor/mathjax/t.js"></script>"""
ONE = """<article class="bd-article"><section id="one">
<h1>One &amp; all<a class="headerlink">#</a></h1>
<p>See <a href="two.html#place">there</a>, <a href="#one">here</a>, <a href="two.html">two</a>,
<a href="https://example.org/x">elsewhere</a>, <a href="../../_sources/one.ipynb">a file</a>.
<img src="../../_images/p.png"><img src="data:image/png;base64,AA"></p>
<div class="cell tag_hide-input"><details class="hide above-input">drawing code</details>
<div class="cell_output">figure</div></div>
<div class="syre-slider" data-frames="[1]"><label>Strength <input type="range"></label></div>
<section id="exercise-1"><h2>Exercise 1<a class="headerlink">#</a></h2><p>Why?</p>
<details><summary>Hint</summary>Think.</details>
<div class="cell"><div class="cell_input">answer = ...</div>
<div class="cell_output">No answer yet</div></div>
<div class="cell tag_hide-cell"><details class="hide"><div class="cell_input">answer = 42</div>
<div class="cell_output">Right</div></details></div></section>
</section></article>"""
TWO = """<article class="bd-article"><section id="two"><h1>Two "quoted"</h1>
<p id="place"><a href="../intro.html">back</a></p></section></article>"""
INTRO = """<article class="bd-article"><section id="hello"><h1>Hello</h1></section></article>"""
PAGES = {"book/intro": INTRO, "book/trap/one": ONE, "book/trap/two": TWO}
PARTS = [
    onepage.Part("", ["book/intro"]),
    onepage.Part("Part I · The trap", ["book/trap/one", "book/trap/two"]),
]


@pytest.fixture
def made():
    text = onepage.document(
        PARTS,
        # A page without formulas comes without MathJax.
        lambda page: HEAD + PAGES[page] + (FORMULAS if page == "book/trap/two" else ""),
        "<p>cover</p>",
        "p { color: red }",
    )
    return BeautifulSoup(text, "html.parser")


def test_the_parts_are_those_of_the_table_of_contents(tmp_path):
    toc = tmp_path / "_toc.yml"
    toc.write_text(
        "root: book/intro\nparts:\n- caption: Part I · The trap\n  chapters:\n"
        "  - file: book/trap/one\n  - file: book/trap/two\n"
    )
    assert onepage.parts(toc) == PARTS


def test_links_lead_to_places_in_the_document(made):
    places = {tag["id"] for tag in made.select("[id]")}
    inside = [a["href"][1:] for a in made.select("a[href^='#']")]
    assert set(inside) <= places
    page = made.find(id="trap-one")
    leads = {a.get_text(): a["href"] for a in page.select("a")}
    assert leads["there"] == "#trap-two--place"
    assert leads["here"] == "#trap-one--one"
    assert leads["two"] == "#trap-two"
    assert leads["elsewhere"] == "https://example.org/x"
    assert "a file" not in leads
    assert "a file" in page.get_text()
    assert made.find(id="trap-two").a["href"] == "#intro"


def test_the_contents_list_parts_and_pages_in_order(made):
    lines = [a.get_text() for a in made.select(".print-contents a")]
    assert lines == ["Hello", "Part I · The trap", "One & all", 'Two "quoted"', "Solutions"]
    headings = [(h.name, h.get_text()) for h in made.select("article h1, article h2, article h3")]
    assert headings[:4] == [
        ("h2", "Contents"),
        ("h2", "Hello"),
        ("h1", "Part I · The trap"),
        ("h2", "One & all"),
    ]
    assert '@top-right { content: "Two \\"quoted\\"";' in str(made)


def test_what_belongs_to_a_screen_is_left_out_and_hints_are_opened(made):
    text = made.get_text()
    for gone in ("drawing code", "No answer yet", "Right", "left"):
        assert gone not in text, gone
    assert "figure" in text
    assert not made.select("input, [data-frames], .headerlink")
    (hint,) = made.select("details:not([class])")
    assert hint.has_attr("open")
    assert [img["src"] for img in made.select("img")] == [
        "_images/p.png",
        "data:image/png;base64,AA",
    ]


def test_solutions_come_last_and_each_side_leads_to_the_other(made):
    exercise = made.find(id="trap-one--exercise-1")
    assert "answer = 42" not in exercise.get_text()
    solution = made.find(id=exercise.select_one(".print-note a")["href"][1:])
    assert solution.a["href"] == "#trap-one--exercise-1"
    assert solution.find_next(class_="cell_input").get_text() == "answer = 42"
    assert made.select(".print-page")[-1]["id"] == "solutions"
    assert solution.find_parent(id="solutions")


def test_only_the_style_and_the_formulas_of_the_site_are_loaded(made):
    assert [link["href"] for link in made.select("link")] == ["_static/a.css?v=1"]
    sources = [s.get("src") for s in made.select("script")]
    assert sources == [None, "_static/vendor/mathjax/t.js"]
    assert made.select("style")[-1].get_text().startswith("p { color: red }")


def test_a_page_without_its_parts_is_named():
    with pytest.raises(ValueError, match=r"no article in '<html>"):
        onepage.document(PARTS, lambda _: "<html><title>x</title></html>", "", "")


def test_page_numbers_are_read_from_the_pdf():
    sheet = b"%d 0 obj\n<</Type /Page\n/Parent 9 0 R>>\nendobj\n"
    text = b"".join(sheet % n for n in (2, 10, 45)) + b"9 0 obj\n<</Type /Pages\n/Count 3>>\n"
    text += b"50 0 obj\n<</trap-one [45 0 R /XYZ 0 841 0]\n/intro--a_b [10 0 R /XYZ 0 1 0]>>\n"
    assert pdf.page_numbers(text) == {"trap-one": 3, "intro--a_b": 2}


def test_the_cover_says_whose_and_which():
    text = pdf.cover()
    assert "<h1>Leaving the Mirror</h1>" in text
    assert "CC BY 4.0" in text


def test_the_landing_page_links_to_the_pdf_only_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "PDF", tmp_path / "book.pdf")
    assert assemble.download([]) == ""
    chapters.PDF.write_bytes(b"x" * 3_000_000)
    text = assemble.download([])
    assert 'href="../book.pdf"' in text
    assert "(3 MB, printed from this site on " in text
    assert assemble.MARK in (chapters.BOOK / "intro.md").read_text()
