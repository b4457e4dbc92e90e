"""Data are what they are said to be, come from their own generator; damaged files are not used."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import struct
import urllib.error
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from syre_helpers import data
from syre_helpers.data import files, images
from syre_helpers.data.idx import FormatError, read_idx
from syre_helpers.data.origin import origin

MAKERS = {
    "digits": data.digits,
    "linear": data.linear_regression,
    "teacher": data.teacher_regression,
    "matrix": lambda seed, **more: (data.low_rank_matrix(6, 5, 2, seed, **more),),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_global_random_state_is_neither_read_nor_touched(maker):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        before = torch.random.get_rng_state()
        first = MAKERS[maker](seed=3)
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(2)
        again = MAKERS[maker](seed=3)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("maker", MAKERS)
def test_seeds_differ_and_dtypes_agree(maker):
    single, double = MAKERS[maker](seed=0), MAKERS[maker](seed=0, dtype=torch.float64)
    assert not torch.equal(MAKERS[maker](seed=1)[0], single[0])
    assert double[0].dtype == torch.float64
    for a, b in zip(single, double, strict=True):
        torch.testing.assert_close(a, b.to(a.dtype))


# ---- digits ----------------------------------------------------------------------------------


def test_digits_are_scaled_by_the_training_pixels_and_stratified():
    split = data.digits(dtype=torch.float64)
    assert isinstance(split, data.DataSplit)
    assert split.x_train.mean().abs() < 1e-12
    assert split.x_train.std(correction=0).item() == pytest.approx(1, abs=1e-12)
    assert split.x_train.min().item() == pytest.approx(-0.81, abs=0.02)
    assert split.x_train.max().item() == pytest.approx(1.85, abs=0.02)
    assert split.y_train.dtype == torch.int64
    share = split.y_test.bincount() / (split.y_train.bincount() + split.y_test.bincount())
    assert (share - 0.25).abs().max() < 0.01


@given(seed=st.integers(0, 99), test_share=st.floats(0.05, 0.95))
@settings(max_examples=5, deadline=None)
def test_digits_split_is_a_partition(seed, test_share):
    split = data.digits(seed, test_share, dtype=torch.float64)
    assert len(split.x_train) + len(split.x_test) == 1797
    # the same images with the same labels as scikit-learn's, up to the scale and the order
    bundled = load_digits()
    x = torch.cat([split.x_train, split.x_test])
    pixels = (x - x.min()) * 16 / (x.max() - x.min())
    found = torch.cat([pixels.round(), torch.cat([split.y_train, split.y_test])[:, None]], dim=1)
    wanted = np.column_stack([bundled.data, bundled.target])
    assert sorted(found.tolist()) == sorted(wanted.tolist())


# ---- generated -------------------------------------------------------------------------------


@given(n=st.integers(1, 20), m=st.integers(1, 20), d=st.integers(1, 8), seed=st.integers(0, 2**40))
@settings(max_examples=20, deadline=None)
def test_shapes_of_generated_data(n, m, d, seed):
    line = data.linear_regression(n, m, d, 0.1, seed)
    assert [tuple(t.shape) for t in line] == [(n, d), (n,), (m, d), (m,)]
    net = data.teacher_regression(n, m, d, seed=seed)
    assert [tuple(t.shape) for t in net] == [(n, d), (n, 1), (m, d), (m, 1)]


def test_noise_is_on_the_training_targets_only():
    clean, noisy = (data.linear_regression(4000, 10, 5, noise) for noise in (0.0, 0.3))
    assert (noisy.y_train - clean.y_train).std().item() == pytest.approx(0.3, rel=0.05)
    assert torch.equal(noisy.y_test, clean.y_test)
    assert torch.equal(noisy.x_train, clean.x_train)


@pytest.mark.parametrize("activation", ["tanh", "relu", "linear"])
def test_teacher_is_fixed_and_its_targets_are_standardised(activation):
    first = data.teacher_regression(5000, 10, activation=activation, dtype=torch.float64)
    assert first.y_train.mean().abs() < 0.1
    assert first.y_train.var().item() == pytest.approx(1, abs=0.1)
    # the same teacher: what it makes of the same inputs does not depend on how many there are
    other = data.teacher_regression(5000, 99, activation=activation, dtype=torch.float64)
    torch.testing.assert_close(first.y_train, other.y_train)
    another = data.teacher_regression(5000, 10, activation=activation, teacher_seed=1)
    assert torch.equal(another.x_train, first.x_train.float())
    assert (another.y_train - first.y_train).abs().max() > 0.1


@given(
    rows=st.integers(1, 12), columns=st.integers(1, 12), draw=st.data(), seed=st.integers(0, 1000)
)
@settings(max_examples=40, deadline=None)
def test_low_rank_matrix_has_the_singular_values(rows, columns, draw, seed):
    rank = draw.draw(st.integers(1, min(rows, columns)))
    values = draw.draw(st.lists(st.floats(0.1, 10), min_size=rank, max_size=rank))
    matrix = data.low_rank_matrix(
        rows, columns, rank, seed, singular_values=values, dtype=torch.float64
    )
    found = torch.linalg.svdvals(matrix)
    wanted = torch.zeros(min(rows, columns), dtype=torch.float64)
    wanted[:rank] = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


def test_symmetric_matrix_is_positive_semi_definite():
    matrix = data.low_rank_matrix(7, 7, 3, symmetric=True, dtype=torch.float64)
    torch.testing.assert_close(matrix, matrix.T)
    wanted = torch.tensor([0, 0, 0, 0, 1, 1.5, 2], dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.eigvalsh(matrix), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: data.digits(test_share=0.0), "test_share=0.0.*between 0 and 1"),
        (lambda: data.digits(test_share=float("nan")), "test_share"),
        (lambda: data.digits(test_share=1e-6), "fewer samples than classes"),
        (lambda: data.digits(seed=-1), "seed=-1"),
        (lambda: data.digits(dtype=torch.int64), "dtype=torch.int64.*torch.float32"),
        (lambda: data.linear_regression(0), "n_train: 0"),
        (lambda: data.linear_regression(5, -5), "n_test: -5"),
        (lambda: data.linear_regression(d=0), "d: 0"),
        (lambda: data.linear_regression(noise=float("nan")), "noise=nan"),
        (lambda: data.linear_regression(noise=-1), "noise=-1"),
        (lambda: data.linear_regression(seed=0.5), "seed=0.5"),
        (lambda: data.teacher_regression(units=0), "units: 0"),
        (lambda: data.teacher_regression(activation="tan"), "tan.*tanh"),
        (lambda: data.teacher_regression(teacher_seed=-1), "teacher_seed=-1"),
        (lambda: data.low_rank_matrix(3, 4, 4), "rank=4"),
        (lambda: data.low_rank_matrix(3, 4, 2, symmetric=True), "rows == columns"),
        (lambda: data.low_rank_matrix(3, 4, 2, singular_values=[1.0]), "singular_values"),
        (lambda: data.low_rank_matrix(3, 4, 1, singular_values=[float("nan")]), "finite"),
        (lambda: data.mnist(n_train=0), "n_train: 0"),
        (lambda: data.mnist(n_test=10_001), "n_test=10001.*10000"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# ---- files -----------------------------------------------------------------------------------


def idx_bytes(values, kind=0x08):
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, kind, values.ndim, *values.shape)
    return header + bytes(values.flatten().tolist())


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Five and two images in MNIST's format, published in a folder that stands for the web.

    Returns the folder of the published files and the cache folder.
    """
    generator = torch.Generator().manual_seed(0)
    web, cache = tmp_path / "web", tmp_path / "cache"
    web.mkdir()
    entries = {}
    for part, count in (("train", 5), ("test", 2)):
        for kind, shape in (("images", (count, 3, 4)), ("labels", (count,))):
            top = 256 if kind == "images" else 10
            values = torch.randint(0, top, shape, generator=generator)
            content = idx_bytes(values)
            name = f"{part}-{kind}.gz"
            (web / name).write_bytes(gzip.compress(content, mtime=0))
            entries[f"{part}_{kind}"] = images.IdxFile(
                name, md5((web / name).read_bytes()), md5(content), shape
            )
    tiny_set = images.IdxSet(
        "tiny", ("https://a.example/", "https://b.example/"), 0.5, 0.25, **entries
    )
    monkeypatch.setattr(images, "MNIST", tiny_set)
    monkeypatch.setattr(files, "cache_folder", lambda: cache)
    monkeypatch.delenv(files.ENVIRONMENT, raising=False)
    return web, cache


@pytest.fixture
def network(tiny, monkeypatch):
    """Serve the published files instead of the network; return the list of addresses asked for."""
    web, _ = tiny
    asked = []

    class Downloader:
        def __call__(self, url, output_file, _pooch):
            asked.append(url)
            Path(output_file).write_bytes((web / url.rpartition("/")[2]).read_bytes())

    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, **__: Downloader())
    return asked


def test_download_is_checked_cached_and_read(tiny, network):
    first = data.mnist(dtype=torch.float64)
    assert [len(t) for t in first] == [5, 5, 2, 2]
    assert len(network) == 4
    again = data.mnist(dtype=torch.float64)
    assert len(network) == 4  # from the cache
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_pixels_are_scaled_as_documented_and_labels_kept(tiny, network):
    web, _ = tiny
    content = gzip.decompress((web / "train-images.gz").read_bytes())[16:]
    raw = torch.tensor(list(content), dtype=torch.float64).view(5, 12)
    split = data.mnist(dtype=torch.float64)
    torch.testing.assert_close(split.x_train, (raw / 255 - 0.5) / 0.25)
    labels = gzip.decompress((web / "train-labels.gz").read_bytes())[8:]
    assert split.y_train.tolist() == list(labels)


def test_a_part_is_drawn_from_its_own_seed(tiny, network):
    whole = data.mnist()
    part = data.mnist(n_train=3, seed=1)
    assert [len(t) for t in part] == [3, 3, 2, 2]
    assert torch.equal(data.mnist(n_train=3, seed=1).x_train, part.x_train)
    for x, y in zip(part.x_train, part.y_train, strict=True):
        row = (whole.x_train == x).all(1).nonzero()[0, 0]
        assert whole.y_train[row] == y
    with pytest.raises(ValueError, match="n_train=6 is more than the 5 images"):
        data.mnist(n_train=6)


@pytest.mark.parametrize("folder", ["tiny", "."])
def test_folder_of_the_environment_comes_first(tiny, network, tmp_path, monkeypatch, folder):
    web, cache = tiny
    place = tmp_path / "mine" / folder
    place.mkdir(parents=True)
    for file in web.iterdir():  # packed by another packer: only the unpacked bytes are the same
        content = gzip.decompress(file.read_bytes())
        (place / file.name).write_bytes(gzip.compress(content, 1, mtime=7))
    monkeypatch.setenv(files.ENVIRONMENT, str(tmp_path / "mine"))
    assert len(data.mnist().x_train) == 5
    assert network == []
    assert not cache.exists()


def damages():
    def truncated(content):
        return content[: len(content) // 2]

    def altered(content):
        raw = bytearray(gzip.decompress(content))
        raw[-1] ^= 1
        return gzip.compress(bytes(raw))

    def short_inside(content):
        return gzip.compress(gzip.decompress(content)[:-3])

    def not_gzip(content):
        return b"<html>not found</html>"

    def not_idx(content):
        return gzip.compress(b"\x80\x04K\x01.")  # a pickle

    def flipped(content):
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 0x55]) + content[middle + 1 :]

    return [truncated, altered, short_inside, not_gzip, not_idx, flipped]


@pytest.mark.parametrize("damage", damages())
def test_damaged_file_in_the_environments_folder_is_named_and_kept(
    tiny, network, tmp_path, monkeypatch, damage
):
    web, _ = tiny
    mine = tmp_path / "mine"
    mine.mkdir()
    for file in web.iterdir():
        (mine / file.name).write_bytes(file.read_bytes())
    bad = mine / "test-images.gz"
    bad.write_bytes(damage(bad.read_bytes()))
    monkeypatch.setenv(files.ENVIRONMENT, str(mine))
    with pytest.raises(data.DataError) as caught:
        data.mnist()
    message = str(caught.value)
    assert str(bad) in message
    assert "Replace the file" in message
    assert bad.exists()  # the reader's own file
    assert network == []


@pytest.mark.parametrize("damage", damages())
def test_damaged_file_in_the_cache_is_replaced(tiny, network, damage):
    _, cache = tiny
    data.mnist()
    good = (cache / "tiny" / "train-images.gz").read_bytes()
    (cache / "tiny" / "train-images.gz").write_bytes(damage(good))
    assert len(data.mnist().x_train) == 5
    assert (cache / "tiny" / "train-images.gz").read_bytes() == good
    assert len(network) == 5


@pytest.mark.parametrize("damage", damages())
def test_altered_download_is_neither_used_nor_left_in_the_cache(tiny, network, damage):
    web, cache = tiny
    file = web / "train-images.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(data.DataError) as caught:
        data.mnist()
    message = str(caught.value)
    assert "https://a.example/train-images.gz" in message
    assert "https://b.example/train-images.gz" in message
    assert files.ENVIRONMENT in message
    assert not list(cache.rglob("*.gz"))


def test_download_with_the_right_sum_and_the_wrong_content_is_removed(tiny, network, monkeypatch):
    web, cache = tiny
    content = gzip.compress(b"\0\0\x08\x01\0\0\0\x01\x05")
    (web / "train-images.gz").write_bytes(content)
    wrong = images.IdxFile("train-images.gz", md5(content), "0" * 32, (5, 3, 4))
    monkeypatch.setattr(images, "MNIST", dataclasses.replace(images.MNIST, train_images=wrong))
    with pytest.raises(data.DataError, match=r"shape \(1,\), expected \(5, 3, 4\).*removed"):
        data.mnist()
    assert not list(cache.rglob("*.gz"))


def test_second_mirror_is_tried_and_a_missing_network_explained(tiny, network, monkeypatch):
    serve = pooch.core.choose_downloader()

    class Down:
        def __init__(self, dead):
            self.dead = dead

        def __call__(self, url, *rest, **keywords):
            if any(part in url for part in self.dead):
                raise urllib.error.URLError("Name or service not known")
            return serve(url, *rest, **keywords)

    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, **__: Down(["a.example"]))
    assert len(data.mnist().x_train) == 5
    _, cache = tiny
    for file in cache.rglob("*.gz"):
        file.unlink()
    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, **__: Down(["example"]))
    with pytest.raises(data.DataError) as caught:
        data.mnist()
    message = str(caught.value)
    for part in ("a.example", "b.example", "Name or service not known", "by hand", "SYRE_DATA_DIR"):
        assert part in message
    assert not list(cache.rglob("*.gz"))


def test_environment_that_names_no_folder(tiny, monkeypatch):
    monkeypatch.setenv(files.ENVIRONMENT, "/no/such/folder")
    with pytest.raises(data.DataError, match="SYRE_DATA_DIR='/no/such/folder' is not a folder"):
        data.mnist()


def test_cache_is_the_systems_place():
    assert files.cache_folder().name == "syre_helpers"


def test_published_addresses_and_sums_are_complete():
    names = set()
    for file in (
        images.MNIST.train_images, images.MNIST.train_labels,
        images.MNIST.test_images, images.MNIST.test_labels,
    ):  # fmt: skip
        assert len(file.packed_md5) == len(file.unpacked_md5) == 32
        names |= {file.name, file.packed_md5, file.unpacked_md5}
    assert len(names) == 12
    assert all(m.startswith("https://") and m.endswith("/") for m in images.MNIST.mirrors)


# ---- the format itself -----------------------------------------------------------------------


@given(shape=st.lists(st.integers(0, 4), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_idx_round_trip(tmp_path_factory, shape, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, tuple(shape), generator=generator, dtype=torch.uint8)
    path = tmp_path_factory.mktemp("idx") / "file.gz"
    path.write_bytes(gzip.compress(idx_bytes(values)))
    assert torch.equal(read_idx(path, tuple(shape), md5(idx_bytes(values))), values)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an IDX file"),
        (b"\x01\0\x08\x01\0\0\0\x01\x05", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "0x0d"),
        (b"\0\0\x08\x02\0\0\0\x01", "header ends early"),
        (b"\0\0\x08\x01\0\0\0\x02\x05", "announces 2 values"),
        (b"\0\0\x08\x01\0\0\0\x01\x05\x06", "announces 1 values"),
        (b"\0\0\x08\x01\xff\xff\xff\xff\x05", "announces 4294967295 values"),
    ],
)
def test_wrong_format_is_named(tmp_path, content, words):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(FormatError, match=words):
        read_idx(path, (1,), md5(content))


@pytest.mark.skipif(not os.environ.get(files.ENVIRONMENT), reason="SYRE_DATA_DIR is not set")
def test_real_mnist():
    split = data.mnist()
    assert [tuple(t.shape) for t in split] == [(60_000, 784), (60_000,), (10_000, 784), (10_000,)]
    assert split.x_train.mean().abs() < 1e-3
    assert split.x_train.std().item() == pytest.approx(1, abs=1e-3)
    assert split.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def test_records_name_their_data_and_its_checksums():
    names = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "cifar10_jpeg")
    found = {loader: origin(loader) for loader in names}
    assert len({facts["name"] for facts in found.values()}) == len(names)
    for loader, facts in found.items():
        assert hasattr(data, loader)
        assert len(facts) == 2, "a name and what identifies the content"
    train = found["mnist"]["md5 of unpacked files"]["train-images-idx3-ubyte.gz"]
    assert train == "6bbc9ace898e44ae57da46a324031adb"
    assert found["cifar10_jpeg"]["name"] == "CIFAR-10 (JPEG)"
