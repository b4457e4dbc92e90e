"""A chapter as Colab opens it, and what its setup may not change."""

import pytest

from tools.build import chapters, execute
from tools.emulate import colab


@pytest.mark.slow
def test_a_chapter_runs_as_in_colab():
    """The others do so by `make colab`, nightly."""
    chapters.BUILD.mkdir(exist_ok=True)
    assert colab.emulate("trap/reflections") == ""


def test_an_environment_that_the_setup_changed_is_found_out(tmp_path):
    now = execute.machine()
    file = tmp_path / "colab" / "syre_helpers" / "__init__.py"
    assert colab.judged(f"{now['torch']}\n{now['numpy']}\n{file}\n5.0", tmp_path) == ""
    changed = colab.judged(f"2.0.0\n{now['numpy']}\n{file}\n5.0", tmp_path)
    assert "the setup made them" in changed
    assert "came from" in colab.judged(f"{now['torch']}\n{now['numpy']}\n/x/s.py\n5", tmp_path)
    assert "took 99 s" in colab.judged(f"{now['torch']}\n{now['numpy']}\n{file}\n99", tmp_path)
