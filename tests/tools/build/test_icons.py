"""Icons are drawn in the page, and the theme's script with all of them is left out."""

from types import SimpleNamespace

import pytest

from tools.build import icons


def test_icons_of_a_page_are_drawn_and_the_script_goes(tmp_path):
    page, script = tmp_path / "page.html", tmp_path / "_static" / "scripts" / "fontawesome.js"
    script.parent.mkdir(parents=True)
    script.write_text("all icons")
    page.write_text(
        '<script defer src="_static/scripts/fontawesome.js?digest=1"></script><script src="a.js">'
        '</script><i class="theme-switch fa-solid fa-sun   fa-lg" data-mode="light"></i><i>word</i>'
    )
    app = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="html"))
    for _ in range(2):  # a second build finds nothing to do
        icons.draw_icons(app, None)
        text = page.read_text()
        assert text.startswith(
            '<script src="a.js"></script><svg class="svg-inline--fa theme-switch'
        )
        assert 'fa-sun fa-lg" data-mode="light" aria-hidden="true"' in text
        assert text.endswith("</path></svg><i>word</i>")
        assert not script.exists()


@pytest.mark.parametrize("name", ["bars", "circle-half-stroke", "file-pdf", "magnifying-glass"])
def test_an_icon_is_that_of_the_theme(name):
    drawn = icons.svg(f"fas fa-{name}")
    assert 'viewBox="0 0 ' in drawn
    assert len(drawn) < 3000


def test_an_icon_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="fa-no-such-icon"):
        icons.svg("fas fa-no-such-icon")


def test_a_build_that_failed_is_left_alone(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<i class="fas fa-bars"></i>')
    app = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="html"))
    icons.draw_icons(app, RuntimeError())
    app.builder.format = "latex"
    icons.draw_icons(app, None)
    assert page.read_text() == '<i class="fas fa-bars"></i>'
