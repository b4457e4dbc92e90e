"""The GPT: its size, what a place can see, and the symmetries that each switch leaves it."""

from functools import partial

import pytest
import torch
from torch.func import functional_call

import syre_helpers as sh
from small_models import SMALL_GPT, gpt, seeded, size, tokens
from syre_helpers import arms, models
from syre_helpers.models.attention import turned_by_place


@pytest.mark.parametrize("switches", [{}, {"bias": True}, {"rotary": True}, {"tied": True}])
def test_gpt_has_as_many_parameters_as_its_layers_need(switches):
    dim, mlp = 16, 24
    block = 4 * dim**2 + dim + 2 * 2 * dim + 2 * dim * mlp + mlp + dim
    block += 3 * dim * ("bias" in switches)
    places = 0 if "rotary" in switches else 5 * dim
    total = 7 * dim * (1 if "tied" in switches else 2) + places + 3 * block + 2 * dim
    assert size(models.gpt(7, 5, dim, 3, 4, mlp, **switches)) == total


@pytest.mark.parametrize("rotary", [False, True])
def test_no_place_sees_a_later_one(rotary):
    model, x = seeded(partial(gpt, rotary=rotary)), tokens()
    changed = x.clone()
    changed[:, 3] = (x[:, 3] + 1) % 11
    before, after = model(x), model(changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert ((before - after).abs().amax((0, 2))[3:] > 1e-6).all(), "and each sees the earlier ones"


def test_a_block_is_pytorchs_own_encoder_layer_under_a_causal_mask():
    block = seeded(partial(gpt, bias=True)).blocks[0]
    own = torch.nn.TransformerEncoderLayer(
        8, 2, block.mlp[0].out_features, dropout=0, activation="gelu", batch_first=True,
        norm_first=True, dtype=torch.float64,
    )  # fmt: skip
    attention, state = block.attention, own.state_dict()
    parts = (attention.query, attention.key, attention.value)
    state["self_attn.in_proj_weight"] = torch.cat([layer.weight for layer in parts])
    state["self_attn.in_proj_bias"] = torch.cat([layer.bias for layer in parts])
    names = {"self_attn.out_proj": attention.out, "norm1": block.norm1, "norm2": block.norm2}
    names |= {"linear1": block.mlp[0], "linear2": block.mlp[2]}
    for name, module in names.items():
        state |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    own.load_state_dict(state)
    x = torch.randn(3, 6, 8, dtype=torch.float64)
    later = torch.nn.Transformer.generate_square_subsequent_mask(6, dtype=torch.float64)
    torch.testing.assert_close(block(x), own(x, src_mask=later, is_causal=True))


def test_a_text_that_is_too_long_is_refused():
    model = models.gpt(7, 1, 8, 1, 2, 8)
    assert model(torch.zeros(2, 1, dtype=torch.int64)).shape == (2, 1, 7)
    with pytest.raises(ValueError, match="texts of 3, and the model has places for 1"):
        model(torch.zeros(2, 3, dtype=torch.int64))
    rotary = models.gpt(7, 1, 8, 1, 2, 8, rotary=True)
    assert rotary(torch.zeros(2, 3, dtype=torch.int64)).shape == (2, 3, 7), "has no table of places"


def test_rotary_turns_pairs_like_complex_numbers():
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    pairs = torch.complex(x[..., :3], x[..., 3:])
    rates = 10000 ** (-torch.arange(3, dtype=torch.float64) / 3)
    turned = pairs * torch.exp(1j * torch.arange(5)[:, None] * rates)
    torch.testing.assert_close(turned_by_place(x), torch.cat([turned.real, turned.imag], -1))


def test_rotary_scores_depend_on_how_far_apart_places_are():
    query, key = torch.randn(2, 1, 8, dtype=torch.float64).expand(2, 6, 8)
    scores = turned_by_place(query) @ turned_by_place(key).T
    for distance in range(-5, 6):
        along = scores.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along))
    assert scores[0].std() > 0.1


def families(**switches):
    """Return kind, layers by their last names, group and count of each family of a small GPT."""
    found = sh.find_reflections(seeded(partial(gpt, **switches)), tokens())
    assert not found.left_out
    rows = []
    for one in found:
        parts = {name.rpartition(".")[2] for name in one.layers}
        rows.append((one.kind, frozenset(parts), one.group, one.count))
    return rows


QK, VO = frozenset({"query", "key"}), frozenset({"value", "out"})


@pytest.mark.parametrize(
    ("switches", "qk"),
    [
        ({}, ("rotation", QK, "O(4)", 2)),
        ({"bias": True}, ("rotation", QK, "O(4)", 2)),
        ({"tied": True}, ("rotation", QK, "O(4)", 2)),
        ({"rotary": True}, ("sign", QK, "Z_2^2", 2)),
    ],
)
def test_the_heads_have_the_reflections_that_the_chapter_counts(switches, qk):
    rows = families(**switches)
    about_qk = [row for row in rows if row[1] == QK]
    assert about_qk == [qk] * 2, "in each of two blocks, for each of two heads"
    assert [row for row in rows if row[1] == VO] == [("rotation", VO, "O(4)", 2)] * 2
    swaps = [row for row in rows if row[1] == QK | VO]
    assert swaps == [("permutation", QK | VO, "S_2", 1)] * 2, "the heads"
    idle = [row[1] for row in rows if row[0] == "idle"]
    assert idle.count({"key"}) == (2 if "bias" in switches else 0), "a bias of keys does nothing"
    # Only norms read the stream, and they subtract its mean.
    assert idle.count({"out"}) == idle.count({"2"}) == 2, "what a block writes has an idle mean"
    readout = [row for row in rows if row[1] == {"norm", "readout"}]
    assert len(readout) == ("tied" not in switches), "a tied readout must flip with the embedding"


@pytest.mark.parametrize(("rotary", "holds"), [(False, True), (True, False)])
def test_a_rotation_of_queries_and_keys_is_a_symmetry_unless_places_turn_them(rotary, holds):
    model = seeded(partial(gpt, rotary=rotary))
    params = {name: p.detach() for name, p in model.named_parameters()}
    n = torch.tensor([0.6, 0.0, 0.0, 0.8, 0, 0, 0, 0], dtype=torch.float64)
    names = [f"blocks.1.attention.{part}.weight" for part in ("query", "key")]
    turn = sh.rotation_reflection(*names, n, left_axis=0, right_axis=0)
    seen = turn.violation(lambda p: functional_call(model, p, (tokens(),)).square().sum(), params)
    assert seen < 1e-12 if holds else seen > 1e-6


def next_token(output, y):
    return torch.nn.functional.cross_entropy(output.flatten(0, -2), y.flatten())


def test_stacked_gpts_train_as_each_does_alone():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randint(11, (12, 6), generator=generator) for _ in range(2))
    settings = {
        "steps": 6,
        "loss": next_token,
        "optimizer": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0),
        "coupled": False,
        "batch_size": 4,
    }
    compared = [arms.plain_decay(1.0), arms.syre(1.0, 0.3, sigma_D=0.2)]

    def make():
        return gpt().double()

    table, trained = sh.train_many(make, (x, y), compared, [3], **settings, compile=False)
    for arm in compared:
        model = seeded(gpt, 3)
        alone = sh.fit(model, (x, y), arm, seed=3, **settings)
        both = table[table.arm == arm.label]
        assert both.train_loss.tolist() == pytest.approx(alone.train_loss.tolist(), abs=1e-12)
        for name, p in model.named_parameters():
            torch.testing.assert_close(trained[arm, 3][name], p.detach(), rtol=1e-9, atol=1e-10)
    assert table.train_loss.iloc[-1] < 0.95 * table.train_loss.iloc[0], "and they learn"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"heads": 3}, "heads=3 does not divide dim=8"),
        ({"dim": 6, "rotary": True}, "rotary=True.*dim=6.*heads=2"),
        ({"context": 0}, "context: 0"),
        ({"vocabulary": 1.5}, "vocabulary: 1.5"),
    ],
)
def test_bad_sizes_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        models.gpt(**SMALL_GPT | settings)
