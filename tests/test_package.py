"""The package as a whole: its public names, its floors, and how lightly it is imported."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import syre_helpers as sh

PACKAGE = Path(sh.__file__).parent
# Ground first; a room imports only from floors below its own (and from itself).
FLOORS = {
    "_checks": 0,
    "symmetry": 1,
    "reference": 1,
    "removal": 1,
    "measures": 1,
    "data": 2,
    "models": 2,
    "training": 3,
    "experiments": 4,
    "plots": 5,
    "interactive": 5,
    "exercises": 5,
    "__main__": 6,
}
# Neighbours that one room may look into: measures know the reflections that they measure,
# generated data come from a teacher network, a slider is made of pictures.
SAME_FLOOR = {("measures", "symmetry"), ("data", "models"), ("interactive", "plots")}


def rooms():
    return sorted(
        p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    )


def imported_rooms(file):
    """Return the rooms of the package that a module imports, at its top or inside functions."""
    depth = len(file.relative_to(PACKAGE).parts)
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {name.split(".")[0] for name in names}
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        found |= {n.split(".")[1] for n in names if n.startswith("syre_helpers.")}
    return found


def test_imports_go_down_the_floors_only():
    assert set(rooms()) - {"__init__"} == set(FLOORS), "give each room a floor"
    for file in PACKAGE.rglob("*.py"):
        if file == PACKAGE / "__init__.py":
            continue
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for other in (imported_rooms(file) & set(FLOORS)) - {room}:
            allowed = FLOORS[other] < FLOORS[room] or (room, other) in SAME_FLOOR
            assert allowed, f"{file.relative_to(PACKAGE)} imports {other}, which is not below it"


def test_every_public_name_is_there_and_documented():
    for name in sh.__all__:
        thing = getattr(sh, name)
        assert inspect.getdoc(thing), name
    assert set(sh.__all__) <= set(dir(sh))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = sh.no_such_name


CONTRACT = {
    "Reflection": ["involution", "centre"],
    "permutation_reflection": ["model", "layer", "i", "j", "outgoing", "norm"],
    "sign_reflection": ["model", "layer", "i"],
    "rotation_reflection": ["left", "right", "n", "left_axis", "right_axis"],
    "Syre": ["weight_decay", "sigma_ratio", "sigma_0", "sigma_D", "seed"],
    "effective_rank": ["x"],
    "stable_rank": ["x"],
    "numerical_rank": ["x", "rtol"],
    "dead_fraction": ["x"],
    "duplicate_fraction": ["weight"],
    "escape_force": ["reflection", "loss_fn", "params"],
    "loss_barrier": ["loss_fn", "params_a", "params_b", "reset"],
    "pick_device": [],
    "seed_everything": ["seed"],
    "fit": ["model", "data"],
    "fit_many": ["make_model", "data", "arms", "seeds"],
    "effective_parameters": ["model"],
}
METHODS = {
    "Reflection": ["__call__", "project", "distance", "nearest", "rank", "violation"],
    "Syre": [
        "attach", "parametrize", "penalty", "bias", "metric", "remove", "state_dict",
        "load_state_dict",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRACT)
def test_the_contract_holds(name):
    given = [p for p in inspect.signature(getattr(sh, name)).parameters if p != "self"]
    positions = [given.index(wanted) for wanted in CONTRACT[name]]
    assert positions == sorted(positions)
    for method in METHODS.get(name, []):
        assert callable(getattr(getattr(sh, name), method))


def test_importing_the_package_imports_nothing_heavy():
    heavy = ["matplotlib", "seaborn", "pandas", "sklearn", "scipy", "ipywidgets", "pooch", "tqdm"]
    code = (
        "import sys, torch; before = set(sys.modules); import syre_helpers; "
        "new = set(sys.modules) - before; "
        f"print([m for m in {heavy} if m in new]); print(sorted(n for n in new if 'syre' in n))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines() == ["[]", "['syre_helpers']"]


def test_the_package_ships_its_types():
    assert (PACKAGE / "py.typed").exists()
