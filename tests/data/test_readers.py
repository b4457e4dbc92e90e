"""Fashion-MNIST and the CIFAR sets: formats, checksums, damaged files, scaling, order."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import lzma
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from PIL import Image

from syre_helpers import data
from syre_helpers.data import cifar, files, images, jpeg
from syre_helpers.data.pixels import scale

REAL = os.environ.get(files.ENVIRONMENT, "")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(files, "cache_folder", lambda: folder)
    monkeypatch.delenv(files.ENVIRONMENT, raising=False)
    return folder


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A folder that stands for the web: what lies in it can be downloaded."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Downloader:
        def __call__(self, url, output_file, _pooch):
            file = folder / url.rpartition("/")[2]
            if not file.exists():
                raise OSError("Name or service not known")
            Path(output_file).write_bytes(file.read_bytes())

    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, **__: Downloader())
    return folder


def packed(members, compress):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return compress(stream.getvalue())


def noise(*shape, seed=0, top=256):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, top, shape, generator=generator, dtype=torch.uint8)


def test_each_channel_is_scaled_by_its_own_numbers():
    raw = noise(4, 3, 2, 2)
    found = scale(raw, (0.1, 0.2, 0.3), (1.0, 2.0, 4.0), torch.float64)
    wanted = raw.double() / 255
    for channel, (mean, std) in enumerate(zip((0.1, 0.2, 0.3), (1.0, 2.0, 4.0), strict=True)):
        torch.testing.assert_close(found[:, channel], (wanted[:, channel] - mean) / std)
    assert found.is_contiguous()
    assert torch.equal(raw, noise(4, 3, 2, 2))


# ---- Fashion-MNIST ---------------------------------------------------------------------------


def test_fashion_mnist_reads_its_own_files(monkeypatch):
    asked = []

    def fake(file, read):
        asked.append((file.folder, file.name, file.md5))
        return noise(2, 28, 28) if "images" in file.name else torch.tensor([3, 9])

    monkeypatch.setattr(images, "load", fake)
    split = data.fashion_mnist()
    torch.testing.assert_close(split.x_train, (noise(2, 28, 28).flatten(1) / 255 - 0.2860) / 0.3530)
    assert split.y_test.tolist() == [3, 9]
    assert {folder for folder, _, _ in asked} == {"fashion-mnist"}
    assert len({md5 for _, _, md5 in asked}) == 4


def test_fashion_mnists_addresses_and_sums_are_complete_and_not_mnists():
    sums = set()
    for source in (images.MNIST, images.FASHION_MNIST):
        for part in ("train_images", "train_labels", "test_images", "test_labels"):
            file = getattr(source, part)
            assert len(file.packed_md5) == len(file.unpacked_md5) == 32
            assert file.shape[0] == (60_000 if part.startswith("train") else 10_000)
            sums |= {file.packed_md5, file.unpacked_md5}
    assert len(sums) == 16
    assert all(m.endswith("/") for m in images.FASHION_MNIST.mirrors)


# ---- CIFAR -----------------------------------------------------------------------------------


def tiny_cifar(labels):
    """Return a set of 4 + 3 images (two training members, one for testing) and its archive."""
    members = {}
    for seed, (name, count) in enumerate((("a.bin", 2), ("b.bin", 2), ("test.bin", 3))):
        records = torch.cat(
            [noise(count, labels, seed=seed, top=7), noise(count, 3072, seed=seed)], 1
        )
        members[f"inside/{name}"] = bytes(records.flatten().tolist())
    # what is not asked for is passed over
    archive = packed({"inside/readme.html": b"<html>"} | members, gzip.compress)
    source = cifar.CifarSet(
        files.RemoteFile("tiny", "tiny.tar.gz", ("https://a.example/",), md5(archive)),
        ("inside/a.bin", "inside/b.bin"),
        ("inside/test.bin",),
        n_train=4,
        n_test=3,
        labels=labels,
        classes=7,
        scale=((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
    )
    return source, archive, members


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


LOADERS = {"CIFAR10": (data.cifar10, 1), "CIFAR100": (data.cifar100, 2)}


@pytest.fixture(params=LOADERS)
def small(request, web, monkeypatch):
    load, labels = LOADERS[request.param]
    source, archive, members = tiny_cifar(labels)
    monkeypatch.setattr(cifar, request.param, source)
    (web / "tiny.tar.gz").write_bytes(archive)
    return load, source, archive, members


def test_cifar_is_read_in_order_channel_by_channel(small, cache):
    load, source, _, members = small
    split = load(dtype=torch.float64)
    assert [tuple(t.shape) for t in split] == [(4, 3, 32, 32), (4,), (3, 3, 32, 32), (3,)]
    assert split.y_train.dtype == torch.int64
    content = members["inside/a.bin"] + members["inside/b.bin"]
    records = torch.tensor(list(content)).view(4, -1)
    assert torch.equal(split.y_train, records[:, source.labels - 1])  # CIFAR-100: the fine label
    # second channel, row 5, column 7 of the third image
    value = records[2, source.labels + 1024 + 5 * 32 + 7].item()
    assert split.x_train[2, 1, 5, 7].item() == pytest.approx((value / 255 - 0.4) / 0.3)
    assert (cache / "tiny" / "tiny.tar.gz").exists()


def test_cifar_part_is_drawn_from_its_own_seed(small):
    load, *_ = small
    whole, part = load(), load(n_train=2, n_test=2, seed=3)
    assert part.x_train.dtype == torch.float32
    assert torch.equal(load(n_train=2, seed=3).x_train, part.x_train)
    for x, y in zip(part.x_train, part.y_train, strict=True):
        row = (whole.x_train == x).flatten(1).all(1).nonzero()[0, 0]
        assert whole.y_train[row] == y
    with pytest.raises(ValueError, match="n_test=4 is more than the 3 images"):
        load(n_test=4)
    with pytest.raises(ValueError, match="n_train: 0"):
        load(n_train=0)


def cifar_damages():
    def truncated(content):
        return content[: len(content) // 2]

    def truncated_at_the_end(content):
        return content[:-9]

    def not_gzip(content):
        return b"<html>not found</html>"

    def not_tar(content):
        return gzip.compress(b"\x80\x04K\x01.")  # a pickle

    def flipped(content):
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 0x55]) + content[middle + 1 :]

    def altered(content):
        raw = bytearray(gzip.decompress(content))
        raw[512 * 4 + 100] ^= 1
        return gzip.compress(bytes(raw))

    return [truncated, truncated_at_the_end, not_gzip, not_tar, flipped, altered]


@pytest.mark.parametrize("damage", cifar_damages())
def test_damaged_cifar_is_named_never_used_never_kept(
    small, web, cache, tmp_path, monkeypatch, damage
):
    load, _, archive, _ = small
    # in the cache: replaced
    place = cache / "tiny" / "tiny.tar.gz"
    place.parent.mkdir(parents=True)
    place.write_bytes(damage(archive))
    assert len(load().x_train) == 4
    assert place.read_bytes() == archive
    # downloaded: named and removed
    place.unlink()
    (web / "tiny.tar.gz").write_bytes(damage(archive))
    with pytest.raises(data.DataError, match=r"https://a\.example/tiny\.tar\.gz") as caught:
        load()
    assert files.ENVIRONMENT in str(caught.value)
    assert not list(cache.rglob("*.gz"))
    # placed by hand: named and left alone
    mine = tmp_path / "mine" / "tiny"
    mine.mkdir(parents=True)
    (mine / "tiny.tar.gz").write_bytes(damage(archive))
    monkeypatch.setenv(files.ENVIRONMENT, str(mine.parent))
    with pytest.raises(data.DataError, match="Replace the file") as caught:
        load()
    assert str(mine / "tiny.tar.gz") in str(caught.value)
    assert (mine / "tiny.tar.gz").exists()


def without(members):
    del members["inside/b.bin"]


def shorter(members):
    members["inside/b.bin"] = members["inside/b.bin"][:-1]


def label_too_large(members):
    width = len(members["inside/b.bin"]) // 2
    labels = width - 3072
    content = bytearray(members["inside/b.bin"])
    content[labels - 1] = 7
    members["inside/b.bin"] = bytes(content)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without, "holds no inside/b.bin"),
        (shorter, "inside/b.bin has .* bytes, expected"),
        (label_too_large, "labels of 7 and more"),
    ],
)
def test_wrong_content_with_the_right_sum_is_refused(small, tmp_path, change, words):
    _, source, _, members = small
    change(members)
    archive = packed(members, gzip.compress)
    (tmp_path / "file").write_bytes(archive)
    file = dataclasses.replace(source.file, md5=md5(archive))
    with pytest.raises(ValueError, match=words):
        cifar.read_cifar(tmp_path / "file", dataclasses.replace(source, file=file))


def test_published_cifar_numbers_are_complete():
    for source, archive in ((cifar.CIFAR10, "cifar-10"), (cifar.CIFAR100, "cifar-100")):
        assert source.file.name == f"{archive}-binary.tar.gz"
        assert len(source.file.md5) == 32
        assert source.n_train % len(source.train) == 0
        assert all(m.startswith("https://") and m.endswith("/") for m in source.file.mirrors)


# ---- CIFAR-10 (JPEG) -------------------------------------------------------------------------

COLOURS = {"train": {"red": 250, "grey": 120}, "test": {"red": 240, "grey": 110}}


def saved(value, channel, kind="JPEG", size=32, mode="RGB"):
    pixels = np.full((size, size, 3), 20, dtype=np.uint8)
    pixels[..., channel] = value
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, kind, quality=95)
    return stream.getvalue()


def jpeg_members():
    return {
        f"box/{part}/{name}/{number:04}.jpg": saved(value + number, channel)
        for part, count in (("train", 3), ("test", 1))
        for channel, (name, value) in enumerate(COLOURS[part].items())
        for number in range(count)
    }


def fingerprint(members):
    digest = hashlib.sha256()
    for name, content in sorted(members.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that SYRE_DATA_DIR names, with a small archive of two classes in it."""
    mine = tmp_path / "mine"
    mine.mkdir()
    source = jpeg.JpegSet(
        files.RemoteFile("box", "box.tar.xz", (), ""),
        ("red", "grey"),
        n_train=6,
        n_test=2,
        content_sha256=fingerprint(jpeg_members()),
    )
    monkeypatch.setattr(jpeg, "CIFAR10_JPEG", source)
    monkeypatch.setenv(files.ENVIRONMENT, str(mine))
    (mine / "box.tar.xz").write_bytes(packed(jpeg_members(), lzma.compress))
    return mine


def test_jpeg_folders_become_images_in_random_order(folder):
    split = data.cifar10_jpeg(dtype=torch.float64)
    assert [tuple(t.shape) for t in split] == [(6, 3, 32, 32), (6,), (2, 3, 32, 32), (2,)]
    assert sorted(split.y_train.tolist()) == [0, 0, 0, 1, 1, 1]
    mean, std = cifar.CIFAR10_SCALE
    values = []
    for x, y in zip(split.x_train, split.y_train.tolist(), strict=True):
        pixels = (x * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]) * 255
        assert pixels.mean((1, 2)).argmax() == y  # class 0 is red, class 1 is its second channel
        values.append(pixels[y].mean().item())
    wanted = [v + n for v in COLOURS["train"].values() for n in range(3)]
    assert sorted(values) == pytest.approx(sorted(wanted), abs=4)  # JPEG loses a little
    orders = {tuple(data.cifar10_jpeg(seed=seed).y_train.tolist()) for seed in range(5)}
    assert len(orders) > 1


def test_jpeg_part_is_drawn_from_its_own_seed(folder):
    whole, part = data.cifar10_jpeg(seed=2), data.cifar10_jpeg(n_train=3, seed=2)
    assert torch.equal(whole.x_train[:3], part.x_train)
    assert len(part.x_test) == 2
    with pytest.raises(ValueError, match="n_train=7 is more than the 6 images"):
        data.cifar10_jpeg(n_train=7)


def test_other_packing_of_the_same_images_is_accepted(folder):
    backwards = dict(reversed(jpeg_members().items()))
    (folder / "box.tar.xz").unlink()
    (folder / "box").mkdir()
    again = packed(backwards, lambda content: lzma.compress(content, preset=1))
    (folder / "box" / "box.tar.xz").write_bytes(again)
    assert len(data.cifar10_jpeg().x_train) == 6


def jpeg_damages():
    first = "box/train/red/0000.jpg"

    def truncated(content):
        return content[: len(content) // 2]

    def flipped(content):
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 0x55]) + content[middle + 1 :]

    def not_xz(content):
        return b"<html>not found</html>"

    def not_tar(content):
        return lzma.compress(b"\x80\x04K\x01.")

    def another_image(content):
        return packed(jpeg_members() | {first: saved(99, 2)}, lzma.compress)

    def one_missing(content):
        return packed({n: c for n, c in jpeg_members().items() if n != first}, lzma.compress)

    def one_more(content):
        return packed(jpeg_members() | {"box/extra.txt": b"more"}, lzma.compress)

    return [truncated, flipped, not_xz, not_tar, another_image, one_missing, one_more]


@pytest.mark.parametrize("damage", jpeg_damages())
def test_damaged_jpeg_archive_is_named_and_not_used(folder, cache, damage):
    bad = folder / "box.tar.xz"
    bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(data.DataError, match="Replace the file") as caught:
        data.cifar10_jpeg()
    assert str(bad) in str(caught.value)
    assert bad.exists()
    assert not cache.exists()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"no image", "0000.jpg is not a sound JPEG"),
        (saved(250, 0)[:-300], "0000.jpg is not a sound JPEG"),
        (saved(250, 0, kind="PNG"), "0000.jpg is not a sound JPEG"),
        (saved(250, 0, size=16), r"0000.jpg is RGB of size \(16, 16\)"),
        (saved(250, 0, mode="L"), "0000.jpg is L of size"),
    ],
)
def test_wrong_image_with_the_right_sum_is_named(folder, monkeypatch, image, words):
    members = jpeg_members() | {"box/train/red/0000.jpg": image}
    source = dataclasses.replace(jpeg.CIFAR10_JPEG, content_sha256=fingerprint(members))
    monkeypatch.setattr(jpeg, "CIFAR10_JPEG", source)
    (folder / "box.tar.xz").write_bytes(packed(members, lzma.compress))
    with pytest.raises(data.DataError, match=words):
        data.cifar10_jpeg()


@pytest.mark.parametrize("setting", [None, "."])
def test_missing_jpeg_archive_says_how_to_place_it(folder, tmp_path, monkeypatch, setting):
    if setting is None:
        monkeypatch.delenv(files.ENVIRONMENT)
    else:
        (folder / "box.tar.xz").unlink()
    with pytest.raises(data.DataError) as caught:
        data.cifar10_jpeg()
    for part in ("box.tar.xz", "no address", "by hand", "SYRE_DATA_DIR"):
        assert part in str(caught.value)


def test_missing_pillow_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(
        ImportError, match=r"CIFAR-10 \(JPEG\) needs Pillow.*syre_helpers\[vision\]"
    ):
        data.cifar10_jpeg()


@pytest.mark.slow
@pytest.mark.skipif(
    not any((Path(REAL) / f / "cifar10-jpeg.tar.xz").exists() for f in ("cifar10-jpeg", ".")),
    reason="SYRE_DATA_DIR holds no cifar10-jpeg.tar.xz",
)
def test_the_real_jpeg_archive_has_the_published_scale(monkeypatch):
    monkeypatch.setenv(files.ENVIRONMENT, REAL)
    split = data.cifar10_jpeg(n_train=2000, n_test=50)
    assert split.x_train.mean((0, 2, 3)).abs().max() < 0.1
    assert (split.x_train.std((0, 2, 3)) - 1).abs().max() < 0.1
    assert split.y_train.bincount().min() > 100
