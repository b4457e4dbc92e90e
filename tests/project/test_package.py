"""The package as a whole: its public names, and how lightly it is imported."""

import inspect
import subprocess
import sys

import pytest

import syre_helpers as sh


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
    "find_reflections": ["model", "example_input", "outputs", "penalty"],
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
