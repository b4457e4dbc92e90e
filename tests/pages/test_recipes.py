"""The recipes of the book run as they stand."""

import importlib.util
import re

import pytest
import torch

import page_blocks
import syre_helpers as sh
from tools.build import chapters

PAGE = chapters.BOOK / "reference" / "recipes.md"


FRAMEWORKS = ("lightning", "transformers", "peft", "timm")


def framework_of(code):
    """Return the last of the libraries that a block imports: PEFT's needs transformers, too."""
    imported = re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)
    return next((one for one in reversed(FRAMEWORKS) if one in imported), None)


def test_the_recipes_run_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(page_blocks.blocks(PAGE)) >= 16
    there = importlib.util.find_spec("stable_baselines3") is not None
    page = {"__name__": "__main__"}
    said = page_blocks.run(
        PAGE,
        page,
        skip=lambda code: (
            framework_of(code) is not None or (not there and ("PPO" in code or "agent()" in code))
        ),
    )
    assert "the state has seed=3, this remedy was attached with seed=7" in said
    assert not list(tmp_path.iterdir()), "nothing is left behind"

    # What is pasted from the reference does what the reference does.
    one, other = ({"w": torch.ones(4, 3)} for _ in range(2))
    theta_0, D = sh.reference.draw(one, sigma_ratio=0.1, sigma_D=0.0, seed=0)
    pasted = page["draw"](other, sigma_ratio=0.1, seed=0)
    assert torch.equal(pasted["w"], theta_0["w"])
    sh.reference.pull_(one, theta_0, D, lr=0.1, weight_decay=0.5)
    page["pull_"](other, pasted, lr=0.1, weight_decay=0.5)
    assert torch.equal(one["w"], other["w"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_recipe_of_a_library_runs_with_it(framework, tmp_path, monkeypatch):
    """Beside what the first block of the page defines, each of them stands alone."""
    pytest.importorskip(framework)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    first = page_blocks.blocks(PAGE)[0][0]
    own = [code for code, _ in page_blocks.blocks(PAGE) if framework_of(code) == framework]
    assert len(own) == (2 if framework == "timm" else 1)
    page_blocks.run(PAGE, {"__name__": "__main__"}, skip=lambda code: code not in (first, *own))
    assert not list(tmp_path.iterdir()), "nothing is left behind"
