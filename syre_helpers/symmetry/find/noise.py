"""Operators that draw random numbers."""

from __future__ import annotations

from typing import Any

_RANDOM = frozenset({
    "bernoulli", "rand", "rand_like", "randn", "randn_like", "normal", "normal_functional",
    "uniform", "randint", "randint_like", "randperm", "random", "exponential", "log_normal",
    "cauchy", "geometric", "poisson", "binomial", "_standard_gamma", "_sample_dirichlet",
})  # fmt: skip
# Those whose odds depend on the values of a tensor.
OF_VALUES = frozenset({"poisson", "binomial", "_standard_gamma", "_sample_dirichlet"})
# Noise that signs and rotations leave as it is: as likely in each direction.
EVEN = "even"


def is_random(func: Any) -> bool:
    """Test whether an operator draws random numbers."""
    return func.overloadpacket.__name__.rstrip("_") in _RANDOM


def is_even(func: Any, args: Any, kwargs: Any) -> bool:
    """Test whether the noise is as likely in each direction."""
    name = func.overloadpacket.__name__.rstrip("_")
    if not name.startswith("normal"):
        return name in ("randn", "randn_like")
    place = 0 if isinstance(args[0], float | int) else 1
    return bool((args[place] if len(args) > place else kwargs.get("mean", 0)) == 0)
