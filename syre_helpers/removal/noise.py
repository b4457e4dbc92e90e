r"""Random numbers by counter: the value of an element is a function of (seed, name, index) alone.

Ordinary generators hand out numbers in the order they are asked for, so the value of a weight would
depend on the device, on the order of the parameters and on how they are sharded. Here every element
hashes its own index. All arithmetic is on integers below :math:`2^{63}`, and the results are exact
in float32, so eager and compiled code, CPU and GPU, agree to the last bit.

The scheme is frozen: recorded results depend on it, and golden values in the tests hold it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
# A new key for every 2**31 elements keeps the index inside 31 bits.
_BLOCK_BITS = 31
# 12 uniform 16-bit integers have the variance 2**32 - 1 and the mean 12 * 32767.5.
_WORDS = 6
_MEAN = 12 * 65535 // 2
# Elements hashed at once: the temporaries stay in the cache.
_CHUNK = 1 << 16


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
    return _by_chunk(index, lambda flat: _normal(seed, name, flat))


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
    dtype = torch.float32 if index.device.type == "mps" else torch.float64
    words = _by_chunk(index, lambda flat: _word(flat, _key(seed, name, flat), 0))
    return (2 * words + 1 - (1 << 32)).to(dtype) / (1 << 32)


def _by_chunk(index: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    flat = index.reshape(-1).to(torch.int64)
    if flat.numel() == 0:
        return torch.empty(index.shape, device=index.device)
    return torch.cat([function(part) for part in flat.split(_CHUNK)]).reshape(index.shape)


def _normal(seed: int, name: str, index: Tensor) -> Tensor:
    key = _key(seed, name, index)
    total = torch.zeros_like(index)
    for j in range(_WORDS):
        word = _word(index, key, j)
        total += (word & 0xFFFF) + (word >> 16)
    return (total - _MEAN).to(torch.float32) / (1 << 16)


def _key(seed: int, name: str, index: Tensor) -> Tensor:
    """Return the seven 32-bit key words of each index's block, shape (7, 1) or (7, n)."""
    first, last = int(index.min()) >> _BLOCK_BITS, int(index.max()) >> _BLOCK_BITS
    table = torch.tensor([_digest(seed, name, b) for b in range(first, last + 1)]).T
    return table.to(index.device)[
        :, (index >> _BLOCK_BITS) - first if last > first else slice(0, 1)
    ]


def _digest(seed: int, name: str, block: int) -> list[int]:
    digest = hashlib.sha256(f"syre-1|{seed}|{block}|{name}".encode()).digest()
    return [int.from_bytes(digest[4 * k : 4 * k + 4], "little") for k in range(_WORDS + 1)]


def _word(index: Tensor, key: Tensor, j: int) -> Tensor:
    """Return the j-th hashed 32-bit word of each index, as int64."""
    start = (index & ((1 << _BLOCK_BITS) - 1)) ^ key[0]
    return _mix(_mix(start) ^ key[1 + j])


def _mix(x: Tensor) -> Tensor:
    """Mix 32 bits (a bijection; the constants are those of Wellons' lowbias32).

    The second constant is written as the negative number congruent to it modulo 2**32, so that
    products stay within 63 bits.
    """
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & _MASK
    x = x ^ (x >> 15)
    x = (x * (0x846CA68B - (1 << 32))) & _MASK
    return x ^ (x >> 16)
