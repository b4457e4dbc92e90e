"""Syre without memory: theta_0 and D computed in every step are those that are stored otherwise."""

import dataclasses
import gc
import shutil
import types
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import syre_helpers as sh
from syre_helpers.removal import on_the_fly
from syre_helpers.removal.pull import CACHED, pull_together_
from syre_helpers.removal.theta_0 import CHUNK, Specification

SPECIFICATIONS = {0.0: Specification(3, "a.weight", 0.3, 0.0), 0.2: Specification(3, "b", 0.3, 0.2)}


@pytest.fixture
def plain(monkeypatch):
    """Use plain operations only, as where no compiler works."""
    monkeypatch.setattr(on_the_fly, "_kernel", lambda *_: None)


@pytest.fixture
def untried():
    """Let the compiler be tried anew."""

    def forget():
        for cache in (on_the_fly._kernel, on_the_fly._table, on_the_fly._spare):
            cache.cache_clear()

    forget()
    yield
    forget()


def drawn(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def pulled(p, specification, rate, start=0):
    """The pull as it is stored: theta_0 and D - 1 in full, each element's from its own index."""
    p = p.clone()
    index = torch.arange(start, start + p.numel()).reshape(p.shape)
    xi = [specification.D_minus_1(index, p.dtype)] if specification.sigma_D else []
    pull_together_([p], [specification.theta_0(index, p.dtype)], xi, rate)
    return p


@pytest.mark.parametrize("sigma_D", SPECIFICATIONS)
def test_large_parameters_are_pulled_by_pieces_that_fit_a_cache(sigma_D):
    p, specification = drawn(2 * CACHED + 5), SPECIFICATIONS[sigma_D]
    index = torch.arange(p.numel())
    theta_0 = specification.theta_0(index, p.dtype)
    xi = [specification.D_minus_1(index, p.dtype)] if sigma_D else []
    expected = p - 0.03 * (1 + (xi[0] if sigma_D else 0)) * (p - theta_0)
    small = drawn(3, 4)
    with Largest(p, theta_0, *xi) as largest:
        params, theta = [p, small.clone()], [theta_0, torch.zeros(3, 4)]
        pull_together_(params, theta, [*xi, torch.zeros(3, 4)] if sigma_D else [], 0.03)
    assert largest.numel <= CACHED
    assert (p - expected).abs().max() < 1e-6
    assert (params[1] - 0.97 * small).abs().max() < 1e-6


def pull_run_(p, specification, rate, start):
    """Pull all of a parameter as if its first element had the index `start`."""
    cut = on_the_fly._within_blocks(on_the_fly._Run(p, specification, start))
    on_the_fly._pull_runs_(list(cut), rate)


def unlike_any(sizes):
    """Parameters of all kinds of shapes and orders in memory."""
    params = [drawn(size) for size in sizes]
    params += [drawn(), drawn(0, 3), drawn(7, 9), drawn(3, 4, 5), drawn(2, 3, 4, 5)]
    return [*params, drawn(8, 6, 3, 3).to(memory_format=torch.channels_last), drawn(5, 7).T]


def all_pulled(params, specification, rate):
    """Pull parameters at once, each by its own specification; check each with the stored pull."""
    specifications = [
        dataclasses.replace(specification, name=f"{k}.weight") for k in range(len(params))
    ]
    expected = [pulled(p, own, rate) for p, own in zip(params, specifications, strict=True)]
    strides = [p.stride() for p in params]
    on_the_fly.pull_on_the_fly_(params, specifications, rate)
    for p, right, stride in zip(params, expected, strides, strict=True):
        assert torch.equal(p, right), p.shape
        assert p.stride() == stride


@pytest.mark.parametrize("sigma_D", SPECIFICATIONS)
@pytest.mark.parametrize("rate", [0.01, 0.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pieces_are_the_stored_pull_to_the_last_bit(plain, sigma_D, rate, dtype):
    params = [p.to(dtype) for p in unlike_any([1, 2, 33, CHUNK, 2 * CHUNK + 3])]
    all_pulled(params, SPECIFICATIONS[sigma_D], rate)


@pytest.mark.parametrize("sigma_D", SPECIFICATIONS)
def test_narrow_formats_round_once_more_at_most(sigma_D):
    p, specification = drawn(1000, dtype=torch.bfloat16), SPECIFICATIONS[sigma_D]
    expected = pulled(p, specification, 0.1)
    on_the_fly.pull_on_the_fly_([p], [specification], 0.1)
    assert torch.allclose(p, expected, rtol=torch.finfo(p.dtype).eps, atol=0)


@pytest.mark.parametrize("start", [0, 1000, 2**31 - 40, 2**31, 2**33 - 1])
def test_a_run_of_a_large_parameter_changes_its_key_in_the_middle(plain, start):
    for specification in SPECIFICATIONS.values():
        p = drawn(100)
        expected = pulled(p, specification, 0.1, start)
        pull_run_(p, specification, 0.1, start)
        assert torch.equal(p, expected)
        # The compiled kernel has one key for all of a part.
        for part in on_the_fly._within_blocks(on_the_fly._Run(p, specification, start)):
            assert part.begin >> 31 == (part.begin + part.flat.numel() - 1) >> 31


@pytest.mark.parametrize("sigma_D", SPECIFICATIONS)
@pytest.mark.parametrize(
    "cut", [(slice(2, 4), slice(None)), (slice(None), slice(1, 3))], ids=["rows", "columns"]
)
def test_a_sharded_parameter_gets_what_belongs_to_its_elements(plain, monkeypatch, cut, sigma_D):
    index = torch.arange(15).reshape(5, 3)[cut]
    monkeypatch.setattr(on_the_fly, "local", lambda p: p.part)
    monkeypatch.setattr(on_the_fly, "global_indices", lambda p: index)
    rows = cut[1] == slice(None)
    monkeypatch.setattr(on_the_fly, "local_offset", lambda p: int(index[0, 0]) if rows else None)
    whole, specification = drawn(5, 3), SPECIFICATIONS[sigma_D]
    shard = types.SimpleNamespace(part=whole[cut].clone())
    on_the_fly.pull_on_the_fly_([shard], [specification], 0.1)
    assert torch.equal(shard.part, pulled(whole, specification, 0.1)[cut])


@pytest.mark.slow
@pytest.mark.parametrize("sigma_D", SPECIFICATIONS)
def test_the_compiled_kernel_is_the_stored_pull_to_the_last_bit(untried, sigma_D):
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no compiler here")
    specification = SPECIFICATIONS[sigma_D]
    assert on_the_fly._kernel(torch.device("cpu"), torch.float32, sigma_D > 0) is not None
    compilations = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for rate in (0.01, 0.3):
        all_pulled(
            unlike_any([2, 3, 15, 16, 17, 31, 1000, 1000, 1000, 70_001]), specification, rate
        )
    # Views of one array, as where parameters lie in one buffer.
    all_pulled(list(drawn(3, 50).unbind()), specification, 0.1)
    for start in (5, 2**31 - 40, 2**33):
        p = drawn(100)
        expected = pulled(p, specification, 0.1, start)
        pull_run_(p, specification, 0.1, start)
        assert torch.equal(p, expected)
    # No shape, rate or place has a kernel of its own.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compilations


def trained(store, sigma_D, change, decay=0.5):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Tanh(), nn.Linear(16, 2))
    x = drawn(32, 1, 4, 4)
    syre = sh.Syre(decay, sigma_ratio=0.5, sigma_D=sigma_D, seed=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    syre.attach(optimizer, model, store=store)
    for step in range(20):
        if step == 10:
            change(syre, model)
        optimizer.zero_grad()
        model(x.to(model[0].weight.dtype)).square().mean().backward()
        optimizer.step()
    return dict(model.named_parameters())


def reseed(syre, model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sh.SyreWarning)
        syre.load_state_dict(syre.state_dict() | {"seed": 9})


def widen(syre, model):
    model.double()


@pytest.mark.parametrize("sigma_D", [0.0, 0.3])
@pytest.mark.parametrize("change", [lambda syre, model: None, reseed, widen])
def test_training_is_the_same_with_and_without_memory(plain, sigma_D, change):
    stored, computed = (trained(store, sigma_D, change) for store in (True, False))
    for name, p in stored.items():
        assert torch.equal(p, computed[name]), name
    without = trained(False, sigma_D, change, decay=0.0)
    assert max((without[n] - p).abs().max() for n, p in stored.items()) > 1e-3


def held_bytes(*roots, but):
    """Bytes of the tensors that can be reached from some objects, each storage once."""
    seen, found, stack = set(), {}, list(roots)
    while stack:
        thing = stack.pop()
        # Functions lead to the globals of their module, and so to everything.
        if id(thing) in seen or isinstance(thing, type | types.FunctionType | nn.Module):
            continue
        seen.add(id(thing))
        if isinstance(thing, Tensor):
            found[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
        else:
            stack += gc.get_referents(thing)
    return sum(size for pointer, size in found.items() if pointer not in but)


@pytest.mark.parametrize(("sigma_D", "stored"), [(0.0, 4), (0.1, 8)])
@pytest.mark.parametrize("store", [True, False])
def test_bytes_a_parameter(plain, sigma_D, stored, store):
    model = nn.Sequential(nn.Linear(50, 40), nn.Linear(40, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    syre = sh.Syre(0.1, sigma_ratio=0.2, sigma_D=sigma_D)
    handle = syre.attach(optimizer, model, store=store)
    own = {p.data_ptr() for p in model.parameters()}
    assert held_bytes(syre, handle, but=own) == 0
    model(torch.ones(1, 50)).sum().backward()
    for p in model.parameters():
        own.add(p.grad.data_ptr())
    optimizer.step()
    expected = stored * sum(p.numel() for p in model.parameters()) if store else 0
    assert held_bytes(syre, handle, but=own) == expected


class Largest(TorchDispatchMode):
    """Note the largest tensor that an operation makes, views aside."""

    def __init__(self, *but):
        super().__init__()
        self.but, self.numel = {t.untyped_storage().data_ptr() for t in but}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for out in made if isinstance(made, list | tuple) else [made]:
            if isinstance(out, Tensor) and out.untyped_storage().data_ptr() not in self.but:
                self.numel = max(self.numel, out.untyped_storage().nbytes() // out.itemsize)
        return made


@pytest.mark.parametrize("sigma_D", SPECIFICATIONS)
def test_plain_operations_need_a_small_buffer_only(plain, sigma_D):
    p = drawn(4 * CHUNK + 1)
    with Largest(p) as largest:
        on_the_fly.pull_on_the_fly_([p], [SPECIFICATIONS[sigma_D]], 0.1)
    assert CHUNK <= largest.numel <= 2 * CHUNK


def broken(*args, **kwargs):
    raise RuntimeError("no compiler found\nmore lines")


def wrong(function, **kwargs):
    return lambda params, *rest: [p.fill_(0.1) for p in params]


@pytest.mark.parametrize(
    ("compiler", "words"),
    [
        (lambda function, **kwargs: broken, "no compiler found"),
        (lambda function, **kwargs: function, "switched off"),
        (wrong, "another theta_0"),
    ],
)
def test_without_a_kernel_one_line_says_so(untried, monkeypatch, compiler, words):
    monkeypatch.setattr(torch, "compile", compiler)
    p, specification = drawn(100), SPECIFICATIONS[0.0]
    expected = pulled(pulled(p, specification, 0.1), specification, 0.1)
    with pytest.warns(sh.SyreWarning, match=words) as caught:
        on_the_fly.pull_on_the_fly_([p], [specification], 0.1)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    on_the_fly.pull_on_the_fly_([p], [specification], 0.1)  # says it once
    assert torch.equal(p, expected)
