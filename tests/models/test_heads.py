"""The products of heads: their spectrum, and cuts that are the best of their rank."""

from functools import partial

import pytest
import torch
from torch.func import functional_call

from small_models import gpt, images, seeded, tokens, vit
from syre_helpers import models

HEADS, SIZE = 2, 4
PAIRS = ("query-key", "value-output")


def params_of(model):
    return {name: p.detach() for name, p in model.named_parameters()}


def whole_product(params, block, head, pair):
    """Return a head's product as a matrix of the embedding's size, by its definition."""
    own = slice(head * SIZE, (head + 1) * SIZE)
    weight = {
        part: params[f"blocks.{block}.attention.{part}.weight"]
        for part in ("query", "key", "value", "out")
    }
    if pair == "query-key":
        return weight["query"][own].T @ weight["key"][own]
    return weight["out"][:, own] @ weight["value"][own]


@pytest.mark.parametrize("pair", PAIRS)
def test_products_in_small_form_have_the_singular_values_of_the_whole(pair):
    params = params_of(seeded(gpt))
    small = torch.linalg.svdvals(models.head_products(params, HEADS, pair))
    assert small.shape == (2, HEADS, SIZE)
    for block in range(2):
        for head in range(HEADS):
            whole = torch.linalg.svdvals(whole_product(params, block, head, pair))
            torch.testing.assert_close(small[block, head], whole[:SIZE])


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("rank", [0, 1, 3, 4, 9])
def test_a_cut_is_the_nearest_product_of_its_rank(pair, rank):
    params = params_of(seeded(gpt))
    cut = models.with_heads_cut(params, HEADS, pair, rank)
    for block in range(2):
        for head in range(HEADS):
            u, s, vh = torch.linalg.svd(whole_product(params, block, head, pair))
            s[rank:] = 0
            nearest = u @ s.diag() @ vh
            torch.testing.assert_close(whole_product(cut, block, head, pair), nearest)
    parts = ("query", "key") if pair == "query-key" else ("out", "value")
    names = {f"blocks.{block}.attention.{part}.weight" for block in range(2) for part in parts}
    assert {name for name in params if cut[name] is not params[name]} == names


@pytest.mark.parametrize(("make", "x"), [(gpt, tokens()), (vit, images())])
@pytest.mark.parametrize("pair", PAIRS)
def test_a_cut_to_the_size_of_a_head_changes_no_output(make, x, pair):
    model = seeded(make)
    params, before = params_of(model), model(x)
    whole = functional_call(model, models.with_heads_cut(params, HEADS, pair, SIZE), (x,))
    torch.testing.assert_close(whole, before)
    less = functional_call(model, models.with_heads_cut(params, HEADS, pair, 1), (x,))
    assert (less - before).abs().max() > 1e-6


def test_nothing_is_left_of_scores_without_rank():
    """Queries and keys of rank 0 look at all earlier places alike, whatever is there."""
    model, x = seeded(partial(gpt, depth=1)), tokens()
    cut = models.with_heads_cut(params_of(model), HEADS, "query-key", 0)
    model.load_state_dict(cut)
    attention, inputs = model.blocks[0].attention, torch.randn(2, 6, 8, dtype=torch.float64)
    mean = attention.value(inputs).cumsum(1) / torch.arange(1, 7)[:, None]
    torch.testing.assert_close(attention(inputs), attention.out(mean))
    assert model(x).isfinite().all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: models.head_products(p, 2, "query-value"), "pair='query-value'"),
        (lambda p: models.head_products(p, 3, "query-key"), "heads=3 must divide the 8"),
        (lambda p: models.head_products(p, 0, "query-key"), "heads=0"),
        (lambda p: models.head_products({"a": torch.eye(2)}, 1, "query-key"), "models.gpt"),
        (lambda p: models.with_heads_cut(p, 2, "query-key", -1), "rank: -1"),
        (
            lambda p: models.head_products(
                params_of(seeded(partial(gpt, bias=True))), 2, "query-key"
            ),
            "biases of queries",
        ),
        (
            lambda p: models.with_heads_cut(
                params_of(seeded(partial(gpt, bias=True))), 2, "value-output", 1
            ),
            "biases of queries",
        ),
        (
            lambda p: models.with_heads_cut(
                params_of(seeded(partial(gpt, rotary=True))), 2, "query-key", 1
            ),
            "rotary codes",
        ),
    ],
)
def test_bad_calls_are_answered(call, words):
    with pytest.raises(ValueError, match=words):
        call(params_of(seeded(gpt)))
