"""ResNet-18 and the vision transformer: shapes, sizes, and the symmetries they should have."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, grad, stack_module_state, vmap

import syre_helpers as sh
from syre_helpers import models

SMALL_VIT = {"image": (3, 8, 8), "patch": 4, "dim": 8, "depth": 2, "heads": 2, "mlp": 12}
FACTORIES = {
    "resnet18": lambda: models.resnet18(5, width=2),
    "vit": lambda: models.vit(n_classes=5, **SMALL_VIT),
}


def seeded(make, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().double()


def images(count=4, size=8):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, size, size, generator=generator, dtype=torch.float64)


def size(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("width", "n_classes", "channels"), [(64, 10, 3), (4, 7, 1), (1, 100, 3)])
def test_resnet18_has_as_many_parameters_as_its_layers_need(width, n_classes, channels):
    stages = [width * 2**i for i in range(4)]
    total = 9 * channels * width + 2 * width
    for before, count in zip([width, *stages], stages, strict=False):
        total += 9 * before * count + 3 * 9 * count**2 + 4 * 2 * count
        total += before * count + 2 * count if before != count else 0
    total += stages[-1] * n_classes + n_classes
    assert size(models.resnet18(n_classes, width, channels)) == total


def test_the_standard_resnet18_has_its_known_size_and_names():
    model = models.resnet18()
    assert size(model) == 11_173_962
    names = dict(model.named_modules())
    for name in ("stem.conv", "stage1.0.conv1", "stage2.0.shortcut.conv", "stage4.1.norm2"):
        assert name in names
    assert [n for n, _ in model.named_children()] == [
        "stem", "stage1", "stage2", "stage3", "stage4", "pool", "readout",
    ]  # fmt: skip
    # 18 layers with weights, not counting the three that only match shapes
    layers = [n for n, p in model.named_parameters() if p.ndim > 1 and "shortcut" not in n]
    assert len(layers) == 18


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


def test_shapes_halve_from_stage_to_stage():
    model = models.resnet18(10, width=3)
    x = torch.zeros(2, 3, 32, 32)
    shapes = []
    for part in model:
        x = part(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [
        (3, 32, 32), (3, 32, 32), (6, 16, 16), (12, 8, 8), (24, 4, 4), (24,), (10,),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", FACTORIES)
def test_features_are_what_the_readout_reads(kind):
    model = seeded(FACTORIES[kind]).eval()
    features = model[:-1](images())
    assert features.ndim == 2
    torch.testing.assert_close(model.readout(features), model(images()))


@pytest.mark.parametrize("kind", FACTORIES)
def test_stacked_models_and_gradients_agree_with_each_alone(kind):
    nets = [seeded(FACTORIES[kind], seed) for seed in range(2)]
    (params, buffers), x = stack_module_state(nets), images()

    def loss(p, b):
        b = {name: value.clone() for name, value in b.items()}
        return functional_call(nets[0], (p, b), (x,)).square().sum()

    gradients = vmap(grad(loss))(params, buffers)
    for k, net in enumerate(nets):
        net(images()).square().sum().backward()
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(gradients[name][k], parameter.grad)


def test_vit_can_be_trained_by_fit_many():
    y = torch.tensor([0, 1, 2, 3])
    table = sh.fit_many(
        FACTORIES["vit"],
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
    model = seeded(FACTORIES["vit"])
    params = {name: p.detach() for name, p in model.named_parameters()}
    names = (f"blocks.1.attention.{side}.weight" for side in (left, right))
    turn = sh.rotation_reflection(*names, in_head(head), left_axis=axes[0], right_axis=axes[1])

    def loss(p):
        return functional_call(model, p, (images(),)).square().sum()

    assert turn.violation(loss, params) < 1e-12
    assert turn.distance(params) > 0.1
    assert turn.rank(params) == 8 + 8
    # A vector that mixes the heads is no symmetry.
    mixed = (in_head(0) + in_head(1)) / 2**0.5
    names = (f"blocks.1.attention.{side}.weight" for side in (left, right))
    wrong = sh.rotation_reflection(*names, mixed, left_axis=axes[0], right_axis=axes[1])
    assert wrong.violation(loss, params) > 1e-6


def test_patches_see_each_other_only_through_attention():
    """Without attention's output, what one patch holds does not reach the others."""
    model = seeded(FACTORIES["vit"])
    for block in model.blocks:
        torch.nn.init.zeros_(block.attention.out.weight)
    changed = images()
    changed[:, :, :4, :4] += 1  # the first of four patches
    before, after = (model[:2](x) for x in (images(), changed))
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert not torch.allclose(before[:, 0], after[:, 0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: models.resnet18(0), "n_classes: 0"),
        (lambda: models.resnet18(width=-1), "width: -1"),
        (lambda: models.resnet18(channels=1.5), "channels: 1.5"),
        (lambda: models.vit(patch=5), "patch=5 does not divide .* 32 x 32"),
        (lambda: models.vit(heads=3), "heads=3 does not divide dim=128"),
        (lambda: models.vit(depth=0), "depth: 0"),
        (lambda: models.vit(mlp=0), "mlp: 0"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
