r""":math:`\theta_0` and :math:`D`: random numbers by counter, and their scale by fan-in.

The value of an element is a function of (seed, name, index) alone, times the parameter's scale.
Ordinary generators hand out numbers in the order they are asked for, so the value of a weight would
depend on the device, on the order of the parameters and on how they are sharded. Here every element
hashes its own index. All arithmetic is on 32-bit integers modulo :math:`2^{32}` (int32, which wraps
around), and the results are exact in float32, so eager and compiled code, CPU and GPU, agree to the
last bit.

The scheme is frozen: recorded results depend on it, and golden values in the tests hold it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# A new key for every 2**31 elements keeps the index inside 31 bits.
BLOCK_BITS = 31
# 12 uniform 16-bit integers have the variance 2**32 - 1 and the mean 12 * 32767.5.
_WORDS = 6
_MEAN = 12 * 65535 // 2
# Elements hashed at once: the temporaries stay in the cache.
CHUNK = 1 << 16
# What weight_norm calls the lengths of a weight's rows, as a parametrization and in its old form.
_MAGNITUDES = re.compile(r"\.weight(0|_g)$")


@dataclass(frozen=True)
class Specification:
    r"""All that :math:`\theta_0` and :math:`D - 1` of one parameter follow from.

    Parameters
    ----------
    seed : int
        Of the remedy.
    name : str
        The parameter's canonical name.
    scale : float
        Standard deviation of :math:`\theta_0`.
    sigma_D : float
        Half-width of :math:`D - 1`.
    """

    seed: int
    name: str
    scale: float
    sigma_D: float

    def theta_0(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Return theta_0 at some indices of the whole, flattened parameter."""
        unit = normal(self.seed, self._purposes[0], index)
        wide = dtype if dtype == torch.float64 else torch.float32
        return (unit.to(wide) * self.scale).to(dtype)

    def D_minus_1(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Return D - 1 at some indices: float32 holds it more finely than D."""
        return (uniform(self.seed, self._purposes[1], index) * self.sigma_D).to(dtype)

    def keys(self, block: int) -> tuple[list[int], list[int]]:
        """Return the keys of theta_0 and of D - 1 for one block of indices; where D is 1, equal."""
        theta_0, D = (key_words(self.seed, purpose, block) for purpose in self._purposes)
        return theta_0, D if self.sigma_D else theta_0

    @property
    def _purposes(self) -> tuple[str, str]:
        return f"bias|{self.name}", f"metric|{self.name}"


def fan_ins(shapes: Mapping[str, torch.Size]) -> dict[str, int]:
    """Return the fan-in that sets the scale of each parameter's ``theta_0``.

    A tensor of two or more axes has the product of all but the first; a bias has that of the
    weight beside it (of its directions, under weight_norm); any other vector has its length; a
    scalar has 1.

    Parameters
    ----------
    shapes : mapping of str to torch.Size
        Of all parameters of a model, by canonical name.

    Returns
    -------
    dict of str to int
        Fan-ins by the same names.

    Examples
    --------
    >>> import torch
    >>> fan_ins(
    ...     {"0.weight": torch.Size([8, 3, 5, 5]), "0.bias": torch.Size([8]), "u": torch.Size([4])}
    ... )
    {'0.weight': 75, '0.bias': 75, 'u': 4}
    """
    own = {n: math.prod(shape[1:] if len(shape) > 1 else shape) for n, shape in shapes.items()}
    owners: dict[str, int] = {}
    for name, shape in shapes.items():
        if len(shape) > 1 and "." in name and not is_magnitude(name):
            owners.setdefault(name.rpartition(".")[0], own[name])
    return {
        name: own[name] if len(shape) > 1 else owners.get(name.rpartition(".")[0], own[name])
        for name, shape in shapes.items()
    }


def is_magnitude(name: str) -> bool:
    """Test whether a canonical name is that of the lengths of a weight's rows, of weight_norm."""
    return _MAGNITUDES.search(name) is not None


def normal(seed: int, name: str, index: Tensor) -> Tensor:
    """Return near-normal numbers of mean 0 and standard deviation 1, one per index.

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
    """Return uniform numbers in (-1, 1), one per index, pairwise distinct before rounding.

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
    """Return the numbers of `normal` for elements of a block whose key is known.

    Parameters
    ----------
    low : Tensor
        Indices within the block, int32, shape (n,).
    key : Tensor
        From `key_words`, int32, shape (7,), or (7, n) for a key per element.

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
    """Return the numbers of `uniform` where the key is known; arguments as of `normal_of`."""
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
