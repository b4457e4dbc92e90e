"""The wheel: built, looked into, and installed where nothing else is ours."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

import syre_helpers as sh
from tools.build import chapters

# What a build reads; a copy of it, so that nothing is left among the sources.
READ = ("pyproject.toml", "README.md", "LICENSE")
# Runs where the wheel is installed: every public name is there, and comes from the wheel.
USE = """
import pathlib, sys, syre_helpers as sh
assert pathlib.Path(sh.__file__).is_relative_to(sys.prefix), sh.__file__
print(sh.__version__, *(name for name in sh.__all__ if getattr(sh, name) is not None))
"""

pytestmark = pytest.mark.slow


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built with the setuptools that are installed here: no network is needed."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in READ:
        shutil.copy(chapters.ROOT / name, source)
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(chapters.PACKAGE, source / chapters.PACKAGE.name, ignore=skipped)
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation")
    run(*pip, "-w", built, source)
    (file,) = built.iterdir()
    return file


def test_it_holds_the_package_with_its_types_and_nothing_else(wheel):
    assert wheel.name == f"syre_helpers-{sh.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    here = {str(f.relative_to(chapters.ROOT)) for f in chapters.PACKAGE.rglob("*")}
    wanted = {name for name in here if name.endswith((".py", ".pyi", "py.typed", ".csv"))}
    assert {"syre_helpers/py.typed", "syre_helpers/__init__.pyi"} <= wanted
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert any(name.endswith("LICENSE") for name in names)


def test_it_works_in_a_clean_environment(wheel, tmp_path):
    folder = tmp_path / "clean"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    install = ("install", "-q", "--no-deps", "--no-index", wheel)
    run(sys.executable, "-m", "pip", "--python", python, *install)
    # The dependencies of this environment, but nothing that it has installed in place.
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    version, *names = run(python, "-c", USE, cwd=tmp_path, env={}).split()
    assert version == sh.__version__
    assert names == sh.__all__
