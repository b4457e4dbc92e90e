"""The vision transformer: its size, and the symmetries that it should have."""

from functools import partial

import pytest
import torch
from torch.func import functional_call

import syre_helpers as sh
from small_models import images, seeded, size, vit
from syre_helpers import models


@pytest.mark.parametrize(
    ("image", "patch", "dim", "depth", "heads", "mlp"),
    [((3, 32, 32), 4, 128, 6, 4, 256), ((1, 8, 4), 2, 6, 1, 3, 5)],
)
def test_vit_has_as_many_parameters_as_its_layers_need(image, patch, dim, depth, heads, mlp):
    channels, height, width = image
    patches = height // patch * (width // patch)
    embed = channels * patch**2 * dim + dim + patches * dim
    block = 4 * dim**2 + dim + 2 * 2 * dim + 2 * dim * mlp + mlp + dim
    total = embed + depth * block + 2 * dim + dim * 7 + 7
    assert size(models.vit(image, 7, patch, dim, depth, heads, mlp)) == total


def test_vit_can_be_trained_by_fit_many():
    y = torch.tensor([0, 1, 2, 3])
    table = sh.fit_many(
        vit,
        (images().float(), y),
        [sh.arms.vanilla(), sh.arms.syre(1e-3)],
        range(2),
        steps=20,
        loss=torch.nn.functional.cross_entropy,
        optimizer=lambda p: torch.optim.Adam(p, lr=1e-2),
    )
    losses = table.set_index(["arm", "seed", "step"]).train_loss
    assert (losses.xs(20, level="step") < 0.5 * losses.xs(0, level="step")).all()


def in_head(head, width=4, heads=2, seed=1):
    """A unit vector within the dimensions of one head."""
    part = torch.randn(width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    n = torch.zeros(width * heads, dtype=torch.float64)
    n[head * width : (head + 1) * width] = part / part.norm()
    return n


@pytest.mark.parametrize("head", [0, 1])
@pytest.mark.parametrize(
    ("left", "right", "axes"), [("query", "key", (0, 0)), ("value", "out", (0, 1))]
)
def test_each_head_can_be_rotated(head, left, right, axes):
    model = seeded(vit)
    params = {name: p.detach() for name, p in model.named_parameters()}
    names = [f"blocks.1.attention.{side}.weight" for side in (left, right)]
    turned = partial(sh.rotation_reflection, *names, left_axis=axes[0], right_axis=axes[1])
    turn = turned(in_head(head))

    def loss(p):
        return functional_call(model, p, (images(),)).square().sum()

    assert turn.violation(loss, params) < 1e-12
    assert turn.distance(params) > 0.1
    assert turn.rank(params) == 8 + 8
    # A vector that mixes the heads is no symmetry.
    mixed = (in_head(0) + in_head(1)) / 2**0.5
    assert turned(mixed).violation(loss, params) > 1e-6


def test_patches_see_each_other_only_through_attention():
    """Without attention's output, what one patch holds does not reach the others."""
    model = seeded(vit)
    for block in model.blocks:
        torch.nn.init.zeros_(block.attention.out.weight)
    changed = images()
    changed[:, :, :4, :4] += 1  # the first of four patches
    before, after = (model[:2](x) for x in (images(), changed))
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert not torch.allclose(before[:, 0], after[:, 0])


def test_a_block_is_pytorchs_own_encoder_layer():
    block = seeded(vit).blocks[0]
    own = torch.nn.TransformerEncoderLayer(
        8, 2, block.mlp[0].out_features, dropout=0, activation="gelu", batch_first=True,
        norm_first=True, dtype=torch.float64,
    )  # fmt: skip
    attention, state = block.attention, own.state_dict()
    parts = [layer.weight for layer in (attention.query, attention.key, attention.value)]
    state["self_attn.in_proj_weight"] = torch.cat(parts)
    state["self_attn.in_proj_bias"] = torch.zeros(24)
    names = {"self_attn.out_proj": attention.out, "norm1": block.norm1, "norm2": block.norm2}
    names |= {"linear1": block.mlp[0], "linear2": block.mlp[2]}
    for name, module in names.items():
        state |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    own.load_state_dict(state)
    x = torch.randn(3, 4, 8, dtype=torch.float64)
    torch.testing.assert_close(block(x), own(x))
