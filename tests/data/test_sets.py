"""The sets of images: their table, their scale and order, and what cannot be asked for."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from syre_helpers import data
from syre_helpers.data import files
from syre_helpers.data.origin import origin
from syre_helpers.data.sets import SETS

REAL = os.environ.get(files.ENVIRONMENT, "")


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


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: data.digits(test_share=0.0), "test_share=0.0.*between 0 and 1"),
        (lambda: data.digits(test_share=float("nan")), "test_share"),
        (lambda: data.digits(test_share=1e-6), "fewer samples than classes"),
        (lambda: data.digits(seed=-1), "seed=-1"),
        (lambda: data.digits(dtype=torch.int64), "dtype=torch.int64.*torch.float32"),
        (lambda: data.mnist(n_train=0), "n_train: 0"),
        (lambda: data.cifar100(n_test=10_001), "n_test=10001 is more than the 10000 images"),
        (lambda: data.cifar10_jpeg(n_train=50_001), "n_train=50001 is more than the 50000 images"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_table_is_complete_and_no_checksum_is_there_twice():
    sums = [md5 for source in SETS.values() for md5 in source.files.values() if md5]
    sums += [md5 for name in ("mnist", "fashion_mnist") for md5 in
             SETS[name].content["md5 of unpacked files"].values()]  # fmt: skip
    assert {len(md5) for md5 in sums} == {32}
    assert len(set(sums)) == len(sums) == 18
    for source in SETS.values():
        assert all(mirror.endswith("/") for mirror in source.mirrors)
        assert len(source.scale[0]) == len(source.scale[1]) == source.shape[0]
        for size, names in zip(source.sizes, source.members, strict=True):
            assert not names or size % len(names) == 0
    assert SETS["fashion_mnist"].folder == "fashion-mnist"
    assert SETS["fashion_mnist"].scale == ((0.2860,), (0.3530,))


def test_a_part_is_drawn_from_its_own_seed(tiny):
    load, *_ = tiny
    whole, part = load(), load(n_train=2, n_test=2, seed=3)
    assert [len(t) for t in whole] == [4, 4, 3, 3]
    assert [len(t) for t in part] == [2, 2, 2, 2]
    assert part.x_train.dtype == torch.float32
    assert torch.equal(load(n_train=2, seed=3).x_train, part.x_train)
    for x, y in zip(part.x_train, part.y_train, strict=True):
        row = (whole.x_train == x).flatten(1).all(1).nonzero()[0, 0]
        assert whole.y_train[row] == y
    with pytest.raises(ValueError, match="n_test=4 is more than the 3 images"):
        load(n_test=4)


def test_pixels_and_classes_are_those_of_the_file_in_order_and_scaled(tiny):
    load, source, _, contents = tiny
    split = load(dtype=torch.float64)
    if source.flat:
        raw = torch.tensor(list(contents["train-images.gz"][16:])).view(4, 1, 3, 5)
        labels = torch.tensor(list(contents["train-labels.gz"][8:]))
    else:
        content = contents["inside/a.bin"] + contents["inside/b.bin"]
        records = torch.tensor(list(content)).view(4, -1)
        labels = records[:, source.label_bytes - 1]  # CIFAR-100: the fine label
        raw = records[:, source.label_bytes :].view(4, 3, 32, 32)
    mean, std = (torch.tensor(part, dtype=torch.float64)[:, None, None] for part in source.scale)
    wanted = (raw.double() / 255 - mean) / std
    torch.testing.assert_close(split.x_train, wanted.flatten(1) if source.flat else wanted)
    assert split.x_train.is_contiguous()
    assert split.y_train.dtype == torch.int64
    assert torch.equal(split.y_train, labels)


@pytest.mark.skipif(not (Path(REAL) / "mnist").is_dir(), reason="SYRE_DATA_DIR holds no MNIST")
def test_real_mnist(monkeypatch):
    monkeypatch.setenv(files.ENVIRONMENT, REAL)
    split = data.mnist()
    assert [tuple(t.shape) for t in split] == [(60_000, 784), (60_000,), (10_000, 784), (10_000,)]
    assert split.x_train.mean().abs() < 1e-3
    assert split.x_train.std().item() == pytest.approx(1, abs=1e-3)
    assert split.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


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
