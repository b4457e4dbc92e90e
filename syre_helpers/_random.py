"""The one scheme by which the package draws random numbers: a generator per seed and purpose."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, *purpose: object) -> torch.Generator:
    """Return a generator on the CPU that depends on the seed and the purpose only.

    Two purposes never share a stream, whatever their seeds: adding numbers to a seed would let
    (seed 0, step 1) and (seed 1, step 0) draw the same values.

    Parameters
    ----------
    seed : int
        The seed of the run.
    *purpose : object
        Words and numbers that say what the numbers are for, such as ``"views", "test"`` or
        ``"task", 3``. Their texts count, in order.

    Returns
    -------
    torch.Generator
        A new one, on the CPU, so that all devices see the same numbers.

    Examples
    --------
    >>> first, again = (torch.rand(1, generator=generator(0, "noise", 3)) for _ in range(2))
    >>> torch.equal(first, again)
    True
    """
    words = "|".join(str(word) for word in (seed, *purpose))
    digest = hashlib.sha256(words.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
