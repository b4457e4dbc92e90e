"""The files that describe the project say the same thing.

Bounds and pins, the address of the repository, the table of contents and the notebooks are each
written down in more than one place; each test names the place that is right.
"""

import ast
import re
import tomllib

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import syre_helpers as sh
from notebooks import NOTEBOOKS, code_cells, each_notebook
from tools.build import chapters, links
from tools.emulate import binder

ROOT = chapters.ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LONGEST_CELL = 30


def pins():
    """Return the pinned requirements of constraints.txt that count for Python 3.11 on Linux."""
    python = {"python_version": "3.11", "python_full_version": "3.11.9"}
    here = python | {"sys_platform": "linux", "platform_system": "Linux"}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(r.name): r for r in found if r.marker is None or r.marker.evaluate(here)
    }


# Those of the package and its extras, without the package itself.
REQUIREMENTS = [
    requirement
    for texts in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for requirement in map(Requirement, texts)
    if requirement.name != PROJECT["name"]
]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_each_requirement_is_bounded_below_and_pinned_within_its_bounds(requirement):
    assert ">=" in str(requirement.specifier)
    assert "==" not in str(requirement.specifier), "pins belong into constraints.txt"
    pin = pins()[canonicalize_name(requirement.name)]
    (version,) = [s.version for s in pin.specifier]
    assert version in requirement.specifier


def test_every_pin_is_one_exact_public_version():
    for name, pin in pins().items():
        (only,) = pin.specifier
        assert only.operator == "==", name
        assert "+" not in only.version, f"{name}: a local version exists on no public index"


def test_all_names_every_extra():
    extras = dict(PROJECT["optional-dependencies"])
    (everything,) = [Requirement(text) for text in extras.pop("all")]
    assert everything.name == PROJECT["name"]
    assert everything.extras == set(extras)


def test_a_chapter_that_needs_an_extra_is_built_and_tested_with_it():
    extras = PROJECT["optional-dependencies"]
    assert set(links.EXTRAS) < set(extras)

    def names(extra):
        return {Requirement(text).name for text in extras[extra]}

    for file in NOTEBOOKS:
        extra = nbformat.read(file, as_version=4).metadata["syre"].get("extras", "")
        if extra:
            assert links.EXTRAS[extra].replace("_", "-") in names("book"), file
            assert names(extra) <= names("test"), file


@pytest.mark.parametrize(
    ("present", "extra", "installs"),
    [
        ({"syre_helpers", "stable_baselines3"}, "rl", False),
        ({"syre_helpers"}, "rl", True),
        ({"stable_baselines3"}, "rl", True),
        ({"syre_helpers"}, "", False),
        (set(), "", True),
    ],
)
def test_the_setup_cell_installs_what_is_missing(monkeypatch, present, extra, installs):
    url = "https://github.com/someone/their-book"
    source = links.setup_cell(url, extra)
    assert source.count("    %pip install -q ") == 1
    there, asked = set(present), []

    def install(what):
        asked.append(what)
        there.update({"syre_helpers", "stable_baselines3"})

    plain = re.sub(r"%pip install -q (.+)", r"install(\1)", source)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in there or None)
    exec(plain, {"install": install})
    wanted = f"syre_helpers{f'[{extra}]' if extra else ''} @ git+{url}"
    assert asked == ([wanted] if installs else [])


@pytest.mark.parametrize("url", ["https://github.com/OWNER/syre-book", "https://github.com/a/b"])
def test_a_setup_cell_that_cannot_install_says_what_to_do(monkeypatch, url):
    source = links.setup_cell(url, "rl")
    assert ("%pip" in source) == ("OWNER" not in url), "a placeholder is not tried"
    plain = re.sub(r"%pip install -q (.+)", "pass", source)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"run `pip install \.\[rl\]`"):
        exec(plain, {})


def test_binder_gets_cpu_wheels_and_our_pins():
    python, pip = binder.asked_for((ROOT / "environment.yml").read_text())
    assert f">={python}" == PROJECT["requires-python"], "conda only brings Python"
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in pip
    assert {"-c constraints.txt", "-e .[book]"} <= set(pip)


def test_version_and_licence_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] == sh.__version__
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert "MIT License" in (ROOT / "LICENSE").read_text()


def test_the_address_of_pyproject_stands_everywhere_and_a_placeholder_shows_no_buttons():
    url = chapters.address()
    changed = links.outdated(ROOT, url)
    assert not changed, f"run `make links`: {[str(f.relative_to(ROOT)) for f in changed]}"
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert config["repository"]["url"] == citation["repository-code"] == url
    # The README installs from a copy where there is no other place.
    assert (url in (ROOT / "README.md").read_text()) == chapters.is_published(url)
    buttons = [config["html"][f"use_{name}_button"] for name in ("repository", "issues")]
    buttons += [bool(config["launch_buttons"][f"{name}_url"]) for name in ("colab", "binderhub")]
    assert set(buttons) == {chapters.is_published(url)}


def test_the_table_of_contents_lists_every_page_once():
    listed = chapters.pages(ROOT / "_toc.yml")
    assert len(set(listed)) == len(listed)
    text = [f for f in chapters.BOOK.rglob("*.md") if "_static" not in f.parts]
    there = {str(f.relative_to(ROOT).with_suffix("")) for f in [*NOTEBOOKS, *text]}
    assert set(listed) == there - {"book/LICENSE-TEXT"}


@each_notebook
def test_notebook_is_stripped_and_well_formed(file):
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert {"data", "download_mb"} <= set(notebook.metadata["syre"])
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not c.outputs and c.execution_count is None for c in code), "make format strips it"
    assert max(len(c.source.splitlines()) for c in code) <= LONGEST_CELL
    assert any("assert" in c.source for c in code), "a chapter asserts what it claims"


def draws(source):
    """Test whether a cell's last line makes a figure."""
    last = ast.unparse(ast.parse(source).body[-1:])
    return last.startswith(("sh.plots.Picture(", "sh.interactive.FrameSlider("))


@each_notebook
def test_the_code_that_draws_is_folded_and_claims_nothing(file):
    drawing = [cell for cell in code_cells(file) if draws(cell.source)]
    assert drawing
    for cell in drawing:
        tags = cell.metadata.get("tags", [])
        assert {"hide-input", "hide-cell"} & set(tags), cell.source
        assert not any(isinstance(x, ast.Assert) for x in ast.walk(ast.parse(cell.source)))


@each_notebook
def test_notebook_begins_with_its_title_and_the_setup_cell(file):
    notebook = nbformat.read(file, as_version=4)
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \S.*\n\n\S", first.source), "a title and a paragraph"
    setup = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert setup is notebook.cells[1]
    extra = notebook.metadata["syre"].get("extras", "")
    assert setup.source == links.setup_cell(chapters.address(), extra)
    assert setup.metadata["tags"] == [links.SETUP_TAG]


def test_workflows_pin_actions_by_commit_and_ask_for_little():
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert files
    for file in files:
        text = file.read_text()
        for used in re.findall(r"uses: (.+)", text):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {"contents": "read"}
        granted = [job.get("permissions", {}) for job in workflow["jobs"].values()]
        assert all(set(g) <= {"pages", "id-token"} for g in granted)


def test_reports_of_readers_come_by_a_form():
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    assert yaml.safe_load((folder / "config.yml").read_text())["blank_issues_enabled"] is False
    forms = [yaml.safe_load(f.read_text()) for f in folder.glob("*.yml") if f.stem != "config"]
    assert len(forms) == 2
    for form in forms:
        asked = {part["id"] for part in form["body"]}
        assert {"happened", "environment"} <= asked
        assert form["name"]
        assert form["description"]
    page = next(f for f in forms if f["labels"] == ["book"])
    assert {"chapter", "where"} <= {part["id"] for part in page["body"]}


def test_every_target_of_the_makefile_is_documented():
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.+)$", text, flags=re.MULTILINE)
    described = re.findall(r"^([a-z-]+):.*?  ## \S", text, flags=re.MULTILINE)
    assert sorted(phony.split()) == sorted(described)
    for named in ("help", "book", "test", "lint", "serve", "bench", "links", "clean"):
        assert named in described


def test_no_page_is_told_to_ask_another_host():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]
    static = chapters.BOOK / "_static"
    for path in (config["mathjax_path"], *config["html_css_files"]):
        assert (static / path).exists(), path
