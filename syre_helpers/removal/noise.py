r"""Random numbers by counter: the value of an element is a function of (seed, name, index) alone.

Ordinary generators hand out numbers in the order they are asked for, so the value of a weight would
depend on the device, on the order of the parameters and on how they are sharded. Here every element
hashes its own index. All arithmetic is on 32-bit integers modulo :math:`2^{32}` (int32, which wraps
around), and the results are exact in float32, so eager and compiled code, CPU and GPU, agree to the
last bit.

The scheme is frozen: recorded results depend on it, and golden values in the tests hold it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

# A new key for every 2**31 elements keeps the index inside 31 bits.
BLOCK_BITS = 31
# 12 uniform 16-bit integers have the variance 2**32 - 1 and the mean 12 * 32767.5.
_WORDS = 6
_MEAN = 12 * 65535 // 2
# Elements hashed at once: the temporaries stay in the cache.
CHUNK = 1 << 16


def normal(seed: int, name: str, index: Tensor) -> Tensor:
    """Return near-normal numbers of mean 0 and standard deviation 1, one for each index.

    Each is the scaled sum of twelve hashed 16-bit integers: standard deviation 1.000, kurtosis
    2.90, never beyond 6. The values are multiples of ``2 ** -16`` and exact in float32.

    Parameters
    ----------
    seed : int
        Any integer.
    name : str
        What the numbers are for.
    index : Tensor
        Integers >= 0 (int64), any shape, any device.

    Returns
    -------
    Tensor
        float32, the shape and device of `index`.

    Examples
    --------
    >>> import torch
    >>> whole = normal(0, "layer.weight", torch.arange(6))
    >>> torch.equal(whole[4:], normal(0, "layer.weight", torch.arange(4, 6)))
    True
    """
    return _by_chunk(index, normal_of, seed, name)


def uniform(seed: int, name: str, index: Tensor) -> Tensor:
    """Return uniform numbers in (-1, 1), one for each index, pairwise distinct before rounding.

    Parameters
    ----------
    seed : int
        Any integer.
    name : str
        What the numbers are for.
    index : Tensor
        Integers >= 0 (int64), any shape, any device.

    Returns
    -------
    Tensor
        float64 where the device has it (all but MPS), else float32; the shape and device of
        `index`.
    """
    return _by_chunk(index, uniform_of, seed, name)


def key_words(seed: int, name: str, block: int) -> list[int]:
    """Return the key of the elements ``block * 2**31`` and on: seven signed 32-bit words."""
    digest = hashlib.sha256(f"syre-1|{seed}|{block}|{name}".encode()).digest()
    return [
        int.from_bytes(digest[4 * k : 4 * k + 4], "little", signed=True) for k in range(_WORDS + 1)
    ]


def normal_of(low: Tensor, key: Tensor) -> Tensor:
    """Return what `normal` does, for elements of a block whose key is known.

    Parameters
    ----------
    low : Tensor
        Indices within the block, int32, shape (n,).
    key : Tensor
        From `key_words`, int32, shape (7,), or (7, n) for a key of its own for every element.

    Returns
    -------
    Tensor
        float32, shape (n,).
    """
    # Of two hashes in a row, the last step of the first and the first step of the second cancel.
    start = _stir(_fold(low ^ key[0]))
    total = torch.zeros_like(low)
    for j in range(_WORDS):
        word = _stir(start ^ _fold(key[1 + j]))
        # The hash is _fold(word): the halves of that, without making it.
        high = (word >> 16) & 0xFFFF
        total = total + high + ((word ^ high) & 0xFFFF)
    return (total - _MEAN).to(torch.float32) / (1 << 16)


def uniform_of(low: Tensor, key: Tensor) -> Tensor:
    """Return what `uniform` does, for elements of a block whose key is known; see `normal_of`."""
    dtype = torch.float32 if low.device.type == "mps" else torch.float64
    hashed = _fold(_stir(_stir(_fold(low ^ key[0])) ^ _fold(key[1])))
    word = hashed.to(torch.int64) & 0xFFFFFFFF
    return (2 * word + 1 - (1 << 32)).to(dtype) / (1 << 32)


def _by_chunk(
    index: Tensor, function: Callable[[Tensor, Tensor], Tensor], seed: int, name: str
) -> Tensor:
    flat = index.reshape(-1).to(torch.int64)
    if flat.numel() == 0:
        return torch.empty(index.shape, device=index.device)
    parts = []
    for part in flat.split(CHUNK):
        low = (part & ((1 << BLOCK_BITS) - 1)).to(torch.int32)
        parts.append(function(low, _key(seed, name, part)))
    return torch.cat(parts).reshape(index.shape)


def _key(seed: int, name: str, index: Tensor) -> Tensor:
    """Return the key words of each index's block, shape (7, n), or (7,) where it is one block."""
    first, last = int(index.min()) >> BLOCK_BITS, int(index.max()) >> BLOCK_BITS
    words = [key_words(seed, name, block) for block in range(first, last + 1)]
    table = torch.tensor(words, dtype=torch.int32, device=index.device).T
    return table[:, (index >> BLOCK_BITS) - first] if last > first else table[:, 0]


# A hash is _fold(_stir(_fold(x))): a bijection of 32 bits with the constants of Wellons' lowbias32.
# Shifts of int32 drag the sign along, which a mask takes away.


def _fold(x: Tensor) -> Tensor:
    """Lay the upper half over the lower one. It undoes itself, and distributes over ``^``."""
    return x ^ ((x >> 16) & 0xFFFF)


def _stir(x: Tensor) -> Tensor:
    """Multiply, shift and multiply; the second factor is negative, congruent modulo 2**32."""
    x = x * 0x7FEB352D
    x = x ^ ((x >> 15) & 0x1FFFF)
    return x * (0x846CA68B - (1 << 32))
