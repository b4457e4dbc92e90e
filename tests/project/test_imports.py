"""What may import what, as far as import-linter (`make lint`) does not see it."""

import ast

from notebooks import code_cells, each_notebook
from tools.build import chapters

FILES = [
    file
    for folder in (chapters.PACKAGE, chapters.ROOT / "tools", chapters.ROOT / "benchmarks")
    for file in sorted(folder.rglob("*.py"))
]


def private(name):
    return name.startswith("_") and not name.startswith("__")


def module_of(node, file):
    """Return the file or folder of ours that a statement `from ... import` names, if it is one."""
    start = file.parents[node.level - 1] if node.level else chapters.ROOT
    path = start.joinpath(*(node.module or "").split("."))
    return path if path.is_dir() or path.with_suffix(".py").exists() else None


def borrowed(file):
    """Return the private names of other modules of ours that a module takes."""
    found, modules = [], set()
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or (path := module_of(node, file)) is None:
            continue
        for alias in node.names:
            if (path / f"{alias.name}.py").exists() or (path / alias.name).is_dir():
                # A module whose name is private belongs to its package, which may use it.
                modules.add(alias.asname or alias.name)
            elif private(alias.name):
                found.append(alias.name)
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return found + [
        f"{node.value.id}.{node.attr}"
        for node in used
        if isinstance(node.value, ast.Name) and node.value.id in modules and private(node.attr)
    ]


def test_private_names_stay_in_their_module():
    found = {str(file.relative_to(chapters.ROOT)): borrowed(file) for file in FILES}
    assert not {file: names for file, names in found.items() if names}, "give them public names"


def test_a_borrowed_private_name_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    (tmp_path / "package" / "room").mkdir(parents=True)
    for name in ("_checks.py", "room/arms.py", "room/pull.py"):
        (tmp_path / "package" / name).touch()
    file = tmp_path / "package" / "room" / "here.py"
    file.write_text(
        "from .arms import _gaussian, syre\nfrom . import pull\nfrom .. import _checks\n"
        "from package.room.arms import _index\nfrom torch.utils import _pytree\n"
        "pull._x\n_checks.check\n_pytree._y\n"
    )
    assert borrowed(file) == ["_gaussian", "_index", "pull._x"]


@each_notebook
def test_chapters_import_neither_tests_nor_tools(file):
    imports = [node for cell in code_cells(file) for node in ast.walk(ast.parse(cell.source))]
    names = {a.name for node in imports if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert not {name.partition(".")[0] for name in names} & {"tests", "tools", "benchmarks"}
