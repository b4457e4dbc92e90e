"""Which PyTorch is asked for, and which Python will do."""

import contextlib

import pytest

from tools.build import environment


@pytest.mark.parametrize(
    ("system", "program", "wheels", "answer", "offered"),
    [
        ("Linux", None, "", contextlib.nullcontext, True),
        ("Linux", None, "", OSError, False),
        # Where something better is known, the network is not asked.
        ("Linux", None, "a/folder/of/wheels", pytest.fail, False),
        ("Linux", "nvidia-smi", "", pytest.fail, False),
        ("Darwin", None, "", pytest.fail, False),
    ],
)
def test_cpu_torch_is_offered_only_where_nothing_better_is_known(
    monkeypatch, system, program, wheels, answer, offered
):
    def urlopen(request, timeout):
        if answer is OSError:
            raise answer
        return answer()

    monkeypatch.setattr(environment.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(environment.platform, "system", lambda: system)
    monkeypatch.setattr(environment.shutil, "which", lambda _: program)
    assert environment.wants_cpu_torch({"find-links": wheels}) is offered


def test_an_old_python_is_told_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(environment.sys, "version_info", (3, 10, 0))
    assert environment.main(tmp_path / "venv", "book") == 1
    assert "Python 3.11 or newer is needed" in capsys.readouterr().out
    assert not (tmp_path / "venv").exists()
