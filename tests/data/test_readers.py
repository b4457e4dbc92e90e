"""The readers: what a file must be to be used."""

import dataclasses
import gzip
import lzma
import sys
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from small_sets import COLOURS, idx_bytes, jpeg_members, md5, packed, saved
from syre_helpers import data
from syre_helpers.data.files import FormatError
from syre_helpers.data.readers import read_idx, read_records
from syre_helpers.data.sets import SETS


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


def label_too_large(content):
    labels = len(content) // 2 - 3072
    return content[: labels - 1] + b"\7" + content[labels:]


@pytest.mark.parametrize("tiny", ["cifar10", "cifar100"], indirect=True)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (None, "holds no inside/b.bin"),
        (lambda content: content[:-1], "inside/b.bin has .* bytes, expected"),
        (label_too_large, "labels of 7 and more"),
    ],
)
def test_wrong_content_of_a_cifar_archive_with_the_right_sum_is_refused(
    tiny, tmp_path, change, words
):
    _, source, _, members = tiny
    content = members.pop("inside/b.bin")
    archive = packed(members if change is None else members | {"inside/b.bin": change(content)})
    (tmp_path / "file").write_bytes(archive)
    with pytest.raises(FormatError, match=words):
        read_records(tmp_path / "file", dataclasses.replace(source, files={"file": md5(archive)}))


def test_jpeg_folders_become_images_in_random_order(place_jpeg):
    split = data.cifar10_jpeg(dtype=torch.float64)
    assert [tuple(t.shape) for t in split] == [(6, 3, 32, 32), (6,), (2, 3, 32, 32), (2,)]
    assert sorted(split.y_train.tolist()) == [0, 0, 0, 1, 1, 1]
    mean, std = SETS["cifar10_jpeg"].scale
    values = []
    for x, y in zip(split.x_train, split.y_train.tolist(), strict=True):
        pixels = (x * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]) * 255
        assert pixels.mean((1, 2)).argmax() == y  # class 0 is red, class 1 is its second channel
        values.append(pixels[y].mean().item())
    wanted = [v + n for v in COLOURS["train"].values() for n in range(3)]
    assert sorted(values) == pytest.approx(sorted(wanted), abs=4)  # JPEG loses a little
    orders = {tuple(data.cifar10_jpeg(seed=seed).y_train.tolist()) for seed in range(5)}
    assert len(orders) > 1


def test_jpeg_part_is_drawn_from_its_own_seed(place_jpeg):
    whole, part = data.cifar10_jpeg(seed=2), data.cifar10_jpeg(n_train=3, seed=2)
    assert torch.equal(whole.x_train[:3], part.x_train)
    assert len(part.x_test) == 2


def test_other_packing_of_the_same_images_is_accepted(place_jpeg, by_hand):
    (by_hand / "box.tar.xz").unlink()
    (by_hand / "box").mkdir()
    backwards = dict(reversed(jpeg_members().items()))
    again = packed(backwards, lambda content: lzma.compress(content, preset=1))
    (by_hand / "box" / "box.tar.xz").write_bytes(again)
    assert len(data.cifar10_jpeg().x_train) == 6


FIRST = "box/train/red/0000.jpg"
repacked = partial(packed, compress=lzma.compress)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[: len(content) // 2], "stream ends early|not a sound"),
        (lambda content: content[:300] + bytes([content[300] ^ 0x55]) + content[301:], "sound"),
        (lambda content: b"<html>not found</html>", "not a sound tar.xz"),
        (lambda content: lzma.compress(b"\x80\x04K\x01."), "not a sound tar.xz"),  # a pickle
        (lambda content: repacked(jpeg_members() | {FIRST: saved(99, 2)}), "altered"),
        (lambda content: repacked({n: c for n, c in jpeg_members().items() if n != FIRST}), "2 im"),
        (lambda content: repacked(jpeg_members() | {"box/extra.txt": b"more"}), "9 files"),
    ],
)
def test_damaged_jpeg_archive_is_named_and_not_used(place_jpeg, cache, damage, words):
    place = place_jpeg(jpeg_members())
    place.write_bytes(damage(place.read_bytes()))
    with pytest.raises(data.DataError, match=f"{words}.*Replace the file") as caught:
        data.cifar10_jpeg()
    assert str(place) in str(caught.value)
    assert place.exists()
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
def test_wrong_image_with_the_right_sum_is_named(place_jpeg, image, words):
    place_jpeg(jpeg_members() | {FIRST: image})
    with pytest.raises(data.DataError, match=words):
        data.cifar10_jpeg()


def test_missing_pillow_names_the_extra(place_jpeg, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(
        ImportError, match=r"CIFAR-10 \(JPEG\) needs Pillow.*syre_helpers\[vision\]"
    ):
        data.cifar10_jpeg()
