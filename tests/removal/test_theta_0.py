"""Numbers by counter: the same whatever the order, the shard or the number of threads; frozen."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from syre_helpers.removal import theta_0

# Written down once. A change here invalidates every recorded result.
GOLDEN_NORMAL = [
    0.2653350830078125,
    0.54339599609375,
    0.9240570068359375,
    -0.4917755126953125,
    3.0912017822265625,
    1.861419677734375,
    0.9616546630859375,
]
GOLDEN_UNIFORM = [
    0.2128640457522124,
    0.7249231992755085,
    -0.6726372835692018,
    0.8511724185664207,
    -0.39534683735109866,
    -0.06573842489160597,
    0.5938970751594752,
]


def test_golden_values():
    index = torch.tensor([0, 1, 2, 1000, 2**31 - 1, 2**31, 2**33 + 5])
    assert theta_0.normal(0, "layer.weight", index).tolist() == GOLDEN_NORMAL
    assert theta_0.uniform(7, "layer.weight", index).tolist() == GOLDEN_UNIFORM


def test_reference_in_plain_integers():
    """The vectorised arithmetic equals Python's own integers, which cannot overflow."""

    def mix(x):
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ (x >> 16)

    def keyed(seed, name, i):
        return [word % 2**32 for word in theta_0.key_words(seed, name, i >> 31)]

    def normal(key, i):
        start = mix((i & (2**31 - 1)) ^ key[0])
        words = [mix(start ^ key[1 + j]) for j in range(6)]
        return (sum((w & 0xFFFF) + (w >> 16) for w in words) - 393210) / 65536

    indices = [0, 1, 5, 12345, 2**31 - 1, 2**31, 2**32 + 17, 2**40]
    for i in indices:
        key, index = keyed(3, "a.b", i), torch.tensor([i])
        assert theta_0.normal(3, "a.b", index).item() == normal(key, i)
        word = mix(mix((i & (2**31 - 1)) ^ key[0]) ^ key[1])
        assert theta_0.uniform(3, "a.b", index).item() == (2 * word + 1 - 2**32) / 2**32


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 200), st.randoms(use_true_random=False))
def test_any_order_and_any_shard(start, length, random):
    index = torch.arange(start, start + length)
    whole = theta_0.normal(5, "w", index)
    order = list(range(length))
    random.shuffle(order)
    assert torch.equal(theta_0.normal(5, "w", index[order]), whole[order])
    cut = random.randrange(length)
    shards = [theta_0.normal(5, "w", part) for part in (index[:cut], index[cut:])]
    assert torch.equal(torch.cat(shards), whole)
    assert torch.equal(theta_0.uniform(5, "w", index[order]), theta_0.uniform(5, "w", index)[order])


def test_threads_and_chunks_do_not_matter():
    index = torch.arange(3 * theta_0.CHUNK + 5)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = theta_0.normal(0, "w", index)
        torch.set_num_threads(2)
        two = theta_0.normal(0, "w", index)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, two)
    assert torch.equal(one[: theta_0.CHUNK + 3], theta_0.normal(0, "w", index[: theta_0.CHUNK + 3]))


def test_distribution():
    n = 1_000_000
    z = theta_0.normal(11, "weights", torch.arange(n)).double()
    error = 5 / math.sqrt(n)  # five standard errors
    assert abs(z.mean()) < error
    assert abs(z.var() - 1) < error * math.sqrt(2)
    # A sum of 12 uniform numbers has kurtosis 3 - 1.2 / 12.
    assert abs(((z - z.mean()) ** 4).mean() / z.var() ** 2 - 2.9) < 0.03
    assert abs((z[1:] * z[:-1]).mean()) < error
    u = theta_0.uniform(11, "weights", torch.arange(n))
    assert u.abs().max() < 1
    assert abs(u.mean()) < error
    assert abs(u.square().mean() - 1 / 3) < error
    assert u.unique().numel() == n


@pytest.mark.parametrize("other", [(1, "w"), (0, "v"), (0, "w2")])
def test_names_and_seeds_are_independent(other):
    index = torch.arange(200_000)
    a, b = theta_0.normal(0, "w", index).double(), theta_0.normal(*other, index).double()
    assert abs((a * b).mean()) < 5 / math.sqrt(200_000)
    assert (a == b).double().mean() < 1e-3


def test_values_are_exact_in_float32_and_empty_is_empty():
    z = theta_0.normal(0, "w", torch.arange(1000))
    assert z.dtype == torch.float32
    assert torch.equal((z * 65536).round(), z * 65536)
    assert theta_0.normal(0, "w", torch.arange(0)).shape == (0,)
    assert theta_0.normal(0, "w", torch.arange(6).reshape(2, 3)).shape == (2, 3)
