"""ResNet-18: sizes, names and shapes."""

import pytest
import torch

from small_models import size
from syre_helpers import models


@pytest.mark.parametrize(("width", "n_classes", "channels"), [(64, 10, 3), (4, 7, 1), (1, 100, 3)])
def test_resnet18_has_as_many_parameters_as_its_layers_need(width, n_classes, channels):
    stages = [width * 2**i for i in range(4)]
    total = 9 * channels * width + 2 * width
    for before, count in zip([width, *stages], stages, strict=False):
        total += 9 * before * count + 3 * 9 * count**2 + 4 * 2 * count
        total += before * count + 2 * count if before != count else 0
    total += stages[-1] * n_classes + n_classes
    assert size(models.resnet18(n_classes, width, channels)) == total


def test_the_standard_resnet18_has_its_known_names():
    model = models.resnet18()
    names = dict(model.named_modules())
    for name in ("stem.conv", "stage1.0.conv1", "stage2.0.shortcut.conv", "stage4.1.norm2"):
        assert name in names
    assert [n for n, _ in model.named_children()] == [
        "stem", "stage1", "stage2", "stage3", "stage4", "pool", "readout",
    ]  # fmt: skip
    # 18 layers with weights, not counting the three that only match shapes
    layers = [n for n, p in model.named_parameters() if p.ndim > 1 and "shortcut" not in n]
    assert len(layers) == 18


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


def test_a_block_adds_to_what_it_gets():
    block = models.resnet18(10, width=3).stage1[0]
    torch.nn.init.zeros_(block.norm2.weight)
    x = torch.linspace(-1, 1, 2 * 3 * 16).reshape(2, 3, 4, 4)
    assert torch.equal(block(x), x.relu())
