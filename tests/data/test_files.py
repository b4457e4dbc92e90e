"""Finding a file: by hand, in the cache, on the web; and what is said when that fails."""

import dataclasses
import gzip
import io
import itertools

import pytest
import torch

from small_sets import MIRRORS, md5
from syre_helpers import data
from syre_helpers.data import files
from syre_helpers.data.sets import SETS


def test_download_is_checked_cached_and_read(tiny, web, cache):
    load, source, archives, _ = tiny
    first = load()
    assert len(web.asked) == len(archives)
    again = load()
    assert len(web.asked) == len(archives), "from the cache"
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert {file.name for file in (cache / source.folder).iterdir()} == set(archives)


@pytest.mark.parametrize("folder", ["tiny", "."])
@pytest.mark.parametrize("tiny", ["mnist"], indirect=True)
def test_folder_of_the_environment_comes_first(tiny, web, cache, by_hand, folder):
    load, _, _, contents = tiny
    (by_hand / folder).mkdir(exist_ok=True)
    for name, content in contents.items():
        # packed by another packer: only the unpacked bytes are the same
        (by_hand / folder / name).write_bytes(gzip.compress(content, 1, mtime=7))
    assert len(load().x_train) == 4
    assert web.asked == []
    assert not cache.exists()


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x55]) + content[middle + 1 :]


def altered(content):
    raw = bytearray(gzip.decompress(content))
    raw[2200 if len(raw) > 2200 else -1] ^= 1  # within an image
    return gzip.compress(bytes(raw))


DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "truncated at the end": lambda content: content[:-9],
    "not gzip": lambda _: b"<html>not found</html>",
    "a pickle": lambda _: gzip.compress(b"\x80\x04K\x01."),
    "flipped": flipped,
    "altered": altered,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_file_is_named_never_used_never_kept(
    tiny, web, cache, tmp_path, monkeypatch, damage
):
    load, _, archives, _ = tiny
    name, archive = next(iter(archives.items()))
    load()
    # in the cache: replaced
    place = cache / "tiny" / name
    place.write_bytes(damage(archive))
    assert len(load().x_train) == 4
    assert place.read_bytes() == archive
    # downloaded: named, and not kept
    place.unlink()
    (web.folder / name).write_bytes(damage(archive))
    with pytest.raises(data.DataError) as caught:
        load()
    for part in (*(mirror + name for mirror in MIRRORS), files.ENVIRONMENT):
        assert part in str(caught.value)
    assert not place.exists()
    # placed by hand: named and left alone
    mine = tmp_path / "mine" / "tiny"
    mine.mkdir(parents=True)
    for other, content in archives.items():
        (mine / other).write_bytes(content)
    (mine / name).write_bytes(damage(archive))
    monkeypatch.setenv(files.ENVIRONMENT, str(mine.parent))
    with pytest.raises(data.DataError, match="Replace the file") as caught:
        load()
    assert str(mine / name) in str(caught.value)
    assert (mine / name).exists()


@pytest.mark.parametrize("tiny", ["mnist"], indirect=True)
def test_download_with_the_right_sum_and_the_wrong_content_is_removed(
    tiny, web, cache, monkeypatch
):
    load, source, _, _ = tiny
    content = gzip.compress(b"\0\0\x08\x01\0\0\0\x01\x05")
    (web.folder / "train-images.gz").write_bytes(content)
    sums = source.files | {"train-images.gz": md5(content)}
    monkeypatch.setitem(SETS, "mnist", dataclasses.replace(source, files=sums))
    with pytest.raises(data.DataError, match=r"shape \(1,\), expected \(4, 3, 5\).*removed"):
        load()
    assert not list(cache.rglob("*.gz"))


@pytest.mark.parametrize("tiny", ["mnist"], indirect=True)
def test_second_mirror_is_tried_and_a_missing_network_explained(tiny, web, cache):
    load, *_ = tiny
    web.down = ("a.example",)
    assert len(load().x_train) == 4
    for file in cache.rglob("*.gz"):
        file.unlink()
    web.down = ("example",)
    with pytest.raises(data.DataError) as caught:
        load()
    for part in (*MIRRORS, "Name or service not known", "by hand", "SYRE_DATA_DIR"):
        assert part in str(caught.value)
    assert not list(cache.rglob("*.gz"))


def test_environment_that_names_no_folder(tiny, monkeypatch):
    monkeypatch.setenv(files.ENVIRONMENT, "/no/such/folder")
    with pytest.raises(data.DataError, match="SYRE_DATA_DIR='/no/such/folder' is not a folder"):
        tiny[0]()


@pytest.mark.parametrize("setting", [None, "."])
def test_what_cannot_be_downloaded_says_how_to_place_it(place_jpeg, by_hand, monkeypatch, setting):
    if setting is None:
        monkeypatch.delenv(files.ENVIRONMENT)
    else:
        (by_hand / "box.tar.xz").unlink()
    with pytest.raises(data.DataError) as caught:
        data.cifar10_jpeg()
    for part in ("box.tar.xz", "no address", "by hand", "SYRE_DATA_DIR"):
        assert part in str(caught.value)


@pytest.mark.parametrize("blocking", ["cache", "folder"])
def test_a_file_where_the_cache_should_be_is_named(tiny, web, cache, blocking):
    load, source, *_ = tiny
    place = cache if blocking == "cache" else cache / source.folder
    place.parent.mkdir(exist_ok=True)
    place.write_text("a file")
    with pytest.raises(data.DataError, match="is a file; remove or rename") as caught:
        load()
    assert str(place) in str(caught.value)
    assert place.read_text() == "a file"
    assert web.asked == []


def test_a_folder_in_the_place_of_a_file_is_named(tiny, web, cache, by_hand, monkeypatch):
    load, source, archives, _ = tiny
    name = next(iter(archives))
    (by_hand / name).mkdir()
    with pytest.raises(data.DataError, match="Is a directory") as caught:
        load()
    assert str(by_hand / name) in str(caught.value)
    monkeypatch.delenv(files.ENVIRONMENT)
    (cache / source.folder / name).mkdir(parents=True)
    with pytest.raises(data.DataError, match="is a folder, but the place of a file") as caught:
        load()
    assert str(cache / source.folder / name) in str(caught.value)
    assert web.asked == []


class Dripping(io.BytesIO):
    """A response that gives one byte at a time."""

    def read1(self, size):
        return self.read(1)


@pytest.fixture
def drip(monkeypatch):
    """A function that fetches 1000 bytes, each of which takes some seconds."""

    def fetch(seconds, target):
        clock = itertools.count(0, seconds)
        monkeypatch.setattr(files.time, "monotonic", lambda: next(clock))
        response = Dripping(bytes(1000))
        monkeypatch.setattr(files.urllib.request, "urlopen", lambda url, **settings: response)
        files.fetch("https://a.example/file", str(target))

    return fetch


def test_a_download_that_drips_ends(tmp_path, monkeypatch, drip):
    with pytest.raises(TimeoutError, match="too slow: 61 bytes in 61 seconds"):
        drip(1, tmp_path / "file")
    monkeypatch.setattr(files, "_SLOWEST", 0)
    with pytest.raises(TimeoutError, match="in 4000 seconds"):
        drip(1000, tmp_path / "file")
    drip(0, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == bytes(1000)


def test_cache_is_the_systems_place(monkeypatch):
    monkeypatch.undo()
    assert files.cache_folder().name == "syre_helpers"
