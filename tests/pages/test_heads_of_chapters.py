"""Each chapter says at its head how its decay enters, and what `attach` needs for the same."""

import nbformat

from notebooks import each_notebook


@each_notebook
def test_the_head_says_whether_the_decay_is_coupled(file):
    head = nbformat.read(file, as_version=4).cells[0].source
    said = head.partition("*Decay in this chapter.*")[2]
    assert "coupled" in said or said.strip().startswith("There is none")
