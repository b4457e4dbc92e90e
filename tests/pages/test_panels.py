"""The panels of the chapters: driven as a reader would, through their widgets."""

import ipywidgets
import pytest

from notebooks import NOTEBOOKS as ALL
from notebooks import code_cells

# What a reader might set, for one control of each panel.
CHANGES = {
    "syre": {"wait": 100},
    "how-strong": {"seeds": 2},
    "dead-neurons": {"rival": "perturbed once", "dead_share": 1.0},
    "why-training-falls-in": {"steps": 100},
}


NOTEBOOKS = [n for n in ALL if "interactive.panel(" in str(code_cells(n))]
each_panel = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.stem)


def panel_of(notebook):
    """Run the imports and the cells of the panel, which need nothing else of the chapter."""
    cells = [cell.source for cell in code_cells(notebook)]
    first = next(k for k, c in enumerate(cells) if "import ipywidgets" in c)
    last = next(k for k, c in enumerate(cells) if "sh.interactive.panel(" in c)
    namespace = {}
    for source in [cells[0], *cells[first : last + 1]]:
        head, found, call = source.partition("sh.interactive.panel(")
        exec(head + (f"box = {found}{call}" if found else ""), namespace)
    return namespace["box"]


def test_at_least_four_chapters_have_a_panel():
    assert {n.stem for n in NOTEBOOKS} == set(CHANGES)


@each_panel
def test_a_panel_computes_what_was_chosen(notebook, monkeypatch):
    monkeypatch.setenv("SYRE_PROGRESS", "0")
    box = panel_of(notebook)
    *controls, row, result = box.children
    by_name = {c.description.replace(" ", "_"): c for c in controls}
    assert all(c.style.description_width == "initial" for c in controls), "names are not cut off"
    compute, _, bar = row.children
    shown = []
    for changes in ({}, CHANGES[notebook.stem]):
        for name, value in changes.items():
            by_name[name].value = value
        compute.click()
        box.wait()
        assert 'data-ok="false"' not in result.value, result.value
        assert "<img" in result.value or "<table" in result.value
        assert bar.value == 1.0
        shown.append(result.value)
    assert shown[0] != shown[1], "the controls change the result"


@each_panel
def test_a_panel_stops(notebook):
    box = panel_of(notebook)
    *controls, row, result = box.children
    for control in controls:
        if isinstance(control, ipywidgets.IntSlider):
            control.value = control.max
    compute, stop, bar = row.children
    # Pressed when the bar first moves, in the thread that moves it: no matter how fast the machine.
    bar.observe(lambda _: stop.click(), "value")
    compute.click()
    box.wait()
    assert "Stopped" in result.value
