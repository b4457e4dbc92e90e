"""The recipes of the book run as they stand."""

import importlib.util
import re

import chapters

PAGE = chapters.BOOK / "reference" / "recipes.md"


def test_the_recipes_run_as_they_stand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 12
    if importlib.util.find_spec("stable_baselines3") is None:
        blocks = [block for block in blocks if "PPO" not in block and "agent()" not in block]
    namespace = {"__name__": "__main__"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"block {number}", "exec"), namespace)
    said = capsys.readouterr().out
    assert "the state has seed=3, this remedy was attached with seed=7" in said
    assert not list(tmp_path.iterdir()), "nothing is left behind"
