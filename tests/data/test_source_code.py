"""The text of the standard library: the same each time, no test piece in training, and refusals."""

import hashlib

import pytest
import torch

from syre_helpers import data
from syre_helpers.data import source_code
from syre_helpers.data.origin import origin


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Return the function `library(texts)`, which puts these files in place of Python's own."""

    def library(texts):
        names = [f"m{k:03}" for k in range(len(texts))]
        for name, text in zip(names, texts, strict=True):
            (tmp_path / f"{name}.py").write_bytes(text)
        monkeypatch.setattr(source_code.sys, "stdlib_module_names", frozenset(names) | {"package"})
        monkeypatch.setattr(source_code.sysconfig, "get_path", lambda name: str(tmp_path))
        return tmp_path

    return library


def test_targets_are_the_bytes_that_follow_and_pieces_are_there_once():
    split = data.standard_library(16)
    for x, y in ((split.x_train, split.y_train), (split.x_test, split.y_test)):
        assert x.dtype == y.dtype == torch.int64
        assert torch.equal(x[:, 1:], y[:, :-1])
        assert 0 <= int(x.min()) <= int(x.max()) <= 255
    few = data.standard_library(16, 50, 20)
    assert torch.equal(few.x_train, split.x_train[:50])
    assert torch.equal(few.y_test, split.y_test[:20])


def test_every_tenth_file_is_for_testing_and_no_other(library):
    library([bytes([k]) * 40 for k in range(120)])
    split = data.standard_library(8)
    tested, trained = (set(x.flatten().tolist()) for x in (split.x_test, split.x_train))
    assert tested == set(range(0, 120, 10))
    assert trained == set(range(120)) - tested
    assert split.x_train.shape == (108 * 40 // 8 - 1, 8)


def test_every_byte_is_seen_once_and_none_is_lost(library):
    library([f"{k:03}\n".encode() for k in range(100)])
    split = data.standard_library(4)
    texts = sorted(bytes(piece.tolist()).decode() for piece in split.x_train)
    wanted = [f"{k:03}\n" for k in range(100) if k % 10]
    assert texts == wanted[:-1], "the last has no byte that follows"


def test_the_origin_tells_versions_apart_and_ends_of_lines_do_not_count(library):
    library([b"a = 1\n" * 50] * 100)
    first = data.source_code_origin()
    library([b"a = 1\r\n" * 50] * 100)
    assert data.source_code_origin() == first
    library([b"a = 2\n" * 50] + [b"a = 1\n" * 50] * 99)
    assert data.source_code_origin()["sha256"] != first["sha256"]
    assert (first["files"], first["bytes"]) == (100, 100 * 50 * 6)


def test_a_record_names_the_text_that_was_read():
    facts = origin("standard_library")
    assert facts == data.source_code_origin()
    digest = hashlib.sha256()
    for file in data.source_files():
        digest.update(file.name.encode() + b"\n" + file.read_bytes())
    assert facts["sha256"] == digest.hexdigest()
    assert facts["name"] == "Python standard library"


def test_missing_sources_and_too_many_pieces_are_answered(library):
    folder = library([b"x"] * 99)
    with pytest.raises(data.DataError, match=f"{folder} has 99 source files.*100"):
        data.standard_library()
    library([b"x" * 10] * 100)
    with pytest.raises(data.DataError, match="n_test=30 pieces of 4 bytes are more than the 24"):
        data.standard_library(4, n_test=30)
    with pytest.raises(data.DataError, match="context=1000000 is more than the"):
        data.standard_library(1_000_000)
    with pytest.raises(ValueError, match="context: 0"):
        data.standard_library(0)
