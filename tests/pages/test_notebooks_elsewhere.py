"""A notebook reads the same in JupyterLab, in Colab and on the site: plain Markdown, live links."""

import re

import pytest
from pybtex.database import parse_file

from notebooks import NOTEBOOKS, each_notebook, prose
from tools.build import bibliography, chapters

ROLE = re.compile(r"\{[a-z:]+\}`")
DIRECTIVE = re.compile(r"^\s*(?:```|:{3,})\{[a-z-]+\}", re.MULTILINE)
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
CITED = re.compile(r"\[([^]]*?)(?:, | \()(\d{4}[a-z]?|n\.d\.)\)?\]\((https?://[^)\s]+)\)")


@each_notebook
def test_no_role_and_no_directive_of_the_site_stands_in_a_notebook(file):
    text = prose(file)
    assert not ROLE.findall(text)
    assert not DIRECTIVE.findall(text)


@each_notebook
def test_every_relative_link_leads_to_a_file(file):
    for target in LINK.findall(prose(file)):
        if not target.startswith(("http", "#")):
            path = (file.parent / target.partition("#")[0]).resolve()
            assert path.exists(), target


def addresses():
    """Authors and year of each entry of the bibliography, with where it can be read."""
    found = {}
    for entry in parse_file(str(chapters.BOOK / "references.bib")).entries.values():
        fields = entry.fields
        arxiv = f"https://arxiv.org/abs/{fields['eprint']}" if "eprint" in fields else ""
        doi = f"https://doi.org/{fields['doi']}" if "doi" in fields else ""
        key = bibliography.authors(entry), fields["year"]
        found.setdefault(key, set()).add(fields.get("url") or doi or arxiv)
    return found


def test_every_entry_can_be_followed():
    assert all(all(urls) for urls in addresses().values())


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_work_that_is_cited_stands_in_the_bibliography(file):
    known = addresses()
    for authors, year, url in CITED.findall(prose(file)):
        assert url in known.get((authors, year), set()), (authors, year, url)
