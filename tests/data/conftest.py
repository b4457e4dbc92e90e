"""A folder that stands for the web, and small sets in it."""

import lzma
from pathlib import Path

import pytest

from small_sets import cifar_set, idx_set, jpeg_members, jpeg_set, packed
from syre_helpers import data
from syre_helpers.data import files
from syre_helpers.data.sets import SETS


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no folder in the environment."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(files, "cache_folder", lambda: folder)
    monkeypatch.delenv(files.ENVIRONMENT, raising=False)
    return folder


class Web:
    """A folder whose files can be downloaded from every host that is not down."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder, self.asked, self.down = folder, [], ()

    def fetch(self, url, output_file, _pooch):
        self.asked.append(url)
        if any(host in url for host in self.down):
            raise OSError("Name or service not known")
        Path(output_file).write_bytes((self.folder / url.rpartition("/")[2]).read_bytes())


@pytest.fixture
def web(tmp_path, monkeypatch):
    web = Web(tmp_path / "web")
    monkeypatch.setattr(files, "fetch", web.fetch)
    return web


@pytest.fixture
def by_hand(tmp_path, monkeypatch):
    """The folder that SYRE_DATA_DIR names."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setenv(files.ENVIRONMENT, str(folder))
    return folder


@pytest.fixture(params=["mnist", "cifar10", "cifar100"])
def tiny(request, web, monkeypatch):
    """Each set that can be downloaded, small: its function, table entry, files and contents."""
    name = request.param
    source, archives, contents = idx_set() if name == "mnist" else cifar_set(name)
    monkeypatch.setitem(SETS, name, source)
    for file, archive in archives.items():
        (web.folder / file).write_bytes(archive)
    return getattr(data, name), source, archives, contents


@pytest.fixture
def place_jpeg(by_hand, monkeypatch):
    """A function that puts an archive of two classes into SYRE_DATA_DIR, with the right sum."""

    def place(members):
        monkeypatch.setitem(SETS, "cifar10_jpeg", jpeg_set(members))
        (by_hand / "box.tar.xz").write_bytes(packed(members, lzma.compress))
        return by_hand / "box.tar.xz"

    place(jpeg_members())
    return place
