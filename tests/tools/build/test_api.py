"""The reference of the library is complete: every public name, and every argument of each."""

import importlib
import inspect
import re
from functools import reduce

import pytest
from sphinx.pycode import ModuleAnalyzer

import syre_helpers as sh
from tools.build import api

SECTIONS = api.sections()
LISTED = [path for section in SECTIONS for paths in section.tables.values() for path in paths]
CONSTANTS = [path for section in SECTIONS for path in section.constants]


def value_of(path):
    return reduce(getattr, path.split(".")[1:], sh)


def parameters(value):
    """Return the arguments that a user may give, without `self`."""
    found = inspect.signature(value).parameters
    return {name for name in found if name not in {"self", "cls"} and not name.startswith("_")}


def described(value, *titles):
    """Return the names that sections of a numpydoc docstring describe."""
    parts = re.split(r"^(\w[\w ]*)\n-+$", inspect.getdoc(value) or "", flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    lines = "".join(sections.get(title, "") for title in titles)
    heads = re.findall(r"^(\S[^:\n]*?)(?: :.*)?$", lines, flags=re.MULTILINE)
    return {name.strip().lstrip("*") for head in heads for name in head.split(",")}


def fields(value):
    """Return the fields of a class, and of those that it inherits from, with words under them."""
    found = set()
    for owner in inspect.getmro(value) if inspect.isclass(value) else ():
        if owner.__module__.startswith(sh.__name__):
            documented = ModuleAnalyzer.for_module(owner.__module__).find_attr_docs()
            found |= {name for kind, name in documented if kind == owner.__name__}
            found |= described(owner, "Parameters", "Attributes")
    return found


def test_every_public_name_is_listed_once():
    assert len(set(LISTED)) == len(LISTED)
    assert {"syre_helpers.Syre", "syre_helpers.arms.syre", "syre_helpers.data.mnist"} < set(LISTED)
    listed = {id(value_of(path)) for path in LISTED + CONSTANTS}
    owners = [sh, *(value for name in sh.__all__ if inspect.ismodule(value := getattr(sh, name)))]
    for owner in owners:
        for name in api.public(owner):
            value = getattr(owner, name)
            assert inspect.ismodule(value) or id(value) in listed, f"{owner.__name__}.{name}"


@pytest.mark.parametrize("path", LISTED)
def test_every_argument_is_documented(path):
    value = value_of(path)
    assert inspect.getdoc(value), path
    if inspect.isclass(value) and issubclass(value, Exception):
        return
    arguments = described(value, "Parameters", "Other Parameters")
    assert arguments <= parameters(value), "described, but not an argument"
    assert parameters(value) <= arguments | fields(value), "an argument that is not described"


def test_the_table_names_a_page_for_each_name_and_stale_pages_are_known(tmp_path):
    text = api.tables()
    assert all(f"   ~{path}\n" in text for path in LISTED)
    assert all(path.replace("syre_helpers", "sh", 1) in text for path in CONSTANTS)
    folder = tmp_path / api.FOLDER
    folder.mkdir(parents=True)
    folder.with_suffix(".md").write_text(text)
    assert api.is_listed(folder / "syre_helpers.Syre.rst")
    assert not api.is_listed(folder / "syre_helpers.Gone.rst")
    assert not api.is_listed(tmp_path / "reference" / "syre_helpers.Syre.rst")


def test_fields_of_named_tuples_have_no_page_of_their_own():
    split = importlib.import_module("syre_helpers.data").DataSplit
    assert api.without_words(None, "class", "x", vars(split)[split._fields[0]], False, None)
    assert api.without_words(None, "class", "x", split._replace, False, None) is None
