"""The search for symmetries, against the table that was written before it, and against mathematics."""

import collections

import pytest
import torch
from torch.func import functional_call

import syre_helpers as sh

from . import zoo

LETTERS = {"permutation": "P", "sign": "S", "rotation": "R", "module swap": "M"}


def seeded(make, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def prepared(name):
    make, inputs, expected, options = zoo.CASES[name]
    model = seeded(make)
    if name == "half":
        inputs = tuple(one.bfloat16() for one in inputs)
    return model, inputs, expected, options


def search(model, inputs, **options):
    options.pop("idle", None)
    return sh.find_reflections(model, inputs, **{"draws": 5, **options})


def counted(found):
    """Return the families as the table has them."""
    result = collections.Counter()
    for family in found:
        if family.kind != "idle":
            result[LETTERS[family.kind], family.units] += family.count
    return result


def arguments(family, seed=0):
    """Return units for a reflection of a family."""
    if family.kind == "sign":
        return (family.units - 1,)
    if family.kind == "rotation":
        generator = torch.Generator().manual_seed(seed)
        normal = torch.randn(family.units, generator=generator, dtype=torch.float64)
        return (normal / normal.norm(),)
    return 0, family.units - 1


@pytest.mark.parametrize("name", zoo.CASES)
def test_finds_what_the_formula_says(name):
    model, inputs, expected, options = prepared(name)
    found = search(model, inputs, **options)
    assert counted(found) == expected
    assert sum(family.kind == "idle" for family in found) == options.get("idle", 0)
    assert all(family.violation <= 1e-12 for family in found)


def test_collapsed_or_fresh_the_table_is_the_same():
    model = seeded(lambda: zoo.mlp(4, 5, 6, 3))
    fresh = search(model, zoo.ROWS).table
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert search(model, zoo.ROWS).table.equals(fresh)


def test_a_reflection_of_each_kind_leaves_the_outputs_alone():
    for name in ("batch_norm_tanh", "lstm", "llama", "experts_in_a_list", "group_norm"):
        model, inputs, _, options = prepared(name)
        model = model.double().eval()
        inputs = tuple(one.double() if one.is_floating_point() else one for one in inputs)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
        params = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        before = functional_call(model, params, inputs)
        for family in search(model, inputs, **options):
            reflection = family.reflection(*arguments(family), at=family.count - 1)
            after = functional_call(model, reflection(params), inputs)
            assert (after - before).abs().max() <= 1e-12 * before.abs().max()
            assert reflection.rank(params) == family.rank
            assert reflection.distance(reflection.nearest(params)) <= 1e-12
