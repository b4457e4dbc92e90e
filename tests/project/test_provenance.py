"""Files are whole or not there, and every result says where it comes from."""

import subprocess

import pytest

from syre_helpers import _provenance as provenance


@pytest.mark.parametrize("data", ["text", b"bytes", lambda part: part.write_text("a payload")])
def test_a_file_is_written_into_a_folder_that_is_made(tmp_path, data):
    file = tmp_path / "new" / "file"
    for _ in range(2):  # replaces what is there
        provenance.write_whole(file, data)
    assert file.read_text() in ("text", "bytes", "a payload")
    assert list(file.parent.iterdir()) == [file]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    def fail(part):
        part.write_text("half")
        raise KeyboardInterrupt

    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        provenance.write_whole(file, fail)
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("file", "old")]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    provenance.check_writable("--out", tmp_path / "new" / "a.csv")
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(ValueError, match=r"--out=.*is a folder"):
        provenance.check_writable("--out", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"--out=.*cannot be written"):
        provenance.check_writable("--out", tmp_path / "file" / "a.csv")


def test_records_hold_no_place_of_this_machine():
    given = "run a --out x/y.csv --preset quick --checkpoints=z --seeds 3 --checkpoints z/w"
    assert provenance.describe_command("p", given.split()) == "p run a --preset quick --seeds 3"


def test_the_machine_and_the_versions_are_described():
    machine = provenance.describe_machine()
    assert machine["cores"] >= 1
    assert machine["device"].startswith("cpu, ")
    assert provenance.describe_versions(["pandas"])["pandas"]


def test_the_commit_is_that_of_the_package_and_of_no_project_around_it(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "_provenance.py"))
    assert provenance.describe_versions()["commit"] is None
