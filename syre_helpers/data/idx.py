"""The IDX format of MNIST and its relatives: a header, then unsigned bytes, packed by gzip.

Format: http://yann.lecun.com/exdb/mnist/ (two zero bytes, a type code, the number of axes, the
length of each axis as a big-endian 32-bit integer, then the values). Nothing is ever unpickled.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

_UNSIGNED_BYTES = 0x08


class FormatError(ValueError):
    """What is wrong with a file's content."""


def read_idx(path: Path, shape: tuple[int, ...], md5: str) -> Tensor:
    """Read one gzipped IDX file and check all that can be checked.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        The shape that the file must have.
    md5 : str
        MD5 sum of the **unpacked** bytes: the packed ones differ between packers.

    Returns
    -------
    Tensor
        uint8, of the given shape.

    Raises
    ------
    FormatError
        If the file is not gzip, is cut short, holds something else, or has been altered.
    OSError
        If the file cannot be read.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except EOFError:
        raise FormatError("it is truncated: the gzip stream ends early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(f"it is not a sound gzip file ({error})") from None
    values = _parse(content)
    if tuple(values.shape) != shape:
        raise FormatError(f"it holds an array of shape {tuple(values.shape)}, expected {shape}")
    # A check against damage and mix-ups; MD5 is what the sources publish.
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise FormatError(f"its content was altered: unpacked MD5 {found}, expected {md5}")
    return values


def _parse(content: bytes) -> Tensor:
    if len(content) < 4 or content[:2] != b"\0\0":
        raise FormatError("it is not an IDX file: the first two bytes are not zero")
    kind, axes = content[2], content[3]
    if kind != _UNSIGNED_BYTES:
        raise FormatError(f"its type code is 0x{kind:02x}, expected 0x08, unsigned bytes")
    start = 4 + 4 * axes
    if len(content) < start:
        raise FormatError("it is truncated: the header ends early")
    shape = struct.unpack(f">{axes}I", content[4:start])
    expected = math.prod(shape)
    if len(content) - start != expected:
        raise FormatError(
            f"its header announces {expected} values of shape {shape}, but {len(content) - start} "
            "follow"
        )
    # frombuffer wants a writable buffer, and at least one value
    values = torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8) if expected else None
    return torch.empty(shape, dtype=torch.uint8) if values is None else values.view(shape)
