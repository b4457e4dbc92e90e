"""Small sets of images in the published formats."""

import dataclasses
import functools
import gzip
import hashlib
import io
import struct
import tarfile

import numpy as np
import torch
from PIL import Image

from syre_helpers.data.sets import SETS

MIRRORS = ("https://a.example/", "https://b.example/")
tiny = functools.partial(dataclasses.replace, folder="tiny", mirrors=MIRRORS, sizes=(4, 3))


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def noise(*shape, seed=0, top=256):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, top, shape, generator=generator, dtype=torch.uint8)


def idx_bytes(values, kind=0x08):
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, kind, values.ndim, *values.shape)
    return header + bytes(values.flatten().tolist())


def packed(members, compress=gzip.compress):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return compress(stream.getvalue())


def idx_set():
    """Return a set of 4 + 3 images of 3 x 5 pixels in MNIST's format, and its unpacked files."""
    contents = {
        f"{part}-{kind}.gz": idx_bytes(noise(count, *shape, seed=count, top=top))
        for part, count in (("train", 4), ("test", 3))
        for kind, shape, top in (("images", (3, 5), 256), ("labels", (), 10))
    }
    archives = {name: gzip.compress(content, mtime=0) for name, content in contents.items()}
    source = tiny(
        SETS["mnist"],
        files={name: md5(archive) for name, archive in archives.items()},
        content={"md5 of unpacked files": {name: md5(c) for name, c in contents.items()}},
        shape=(1, 3, 5),
        scale=((0.5,), (0.25,)),
    )
    return source, archives, contents


def cifar_set(name):
    """Return a set of 4 + 3 images (two training members, one for testing), and its members."""
    labels = SETS[name].label_bytes
    members = {}
    for seed, (member, count) in enumerate((("a.bin", 2), ("b.bin", 2), ("test.bin", 3))):
        parts = noise(count, labels, seed=seed, top=7), noise(count, 3072, seed=seed)
        members[f"inside/{member}"] = bytes(torch.cat(parts, 1).flatten().tolist())
    # what is not asked for is passed over
    archive = packed({"inside/readme.html": b"<html>"} | members)
    source = tiny(
        SETS[name],
        files={"tiny.tar.gz": md5(archive)},
        classes=7,
        members=(("inside/a.bin", "inside/b.bin"), ("inside/test.bin",)),
        scale=((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
    )
    return source, {"tiny.tar.gz": archive}, members


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


def jpeg_set(members):
    digest = hashlib.sha256()
    for name, content in sorted(members.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return dataclasses.replace(
        SETS["cifar10_jpeg"],
        folder="box",
        files={"box.tar.xz": ""},
        content={"sha256 of content": digest.hexdigest()},
        sizes=(6, 2),
        class_names=("red", "grey"),
    )
