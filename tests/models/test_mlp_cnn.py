"""Fully connected networks of given widths."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from syre_helpers import models

WIDTHS = st.lists(st.integers(1, 6), min_size=2, max_size=4)


@given(widths=WIDTHS, activation=st.sampled_from(sorted(models.ACTIVATIONS)), bias=st.booleans())
@settings(max_examples=30, deadline=None)
def test_mlp_has_the_widths_and_no_activation_at_the_end(widths, activation, bias):
    model = models.mlp(widths, activation, bias)
    layers = [module for module in model if isinstance(module, nn.Linear)]
    assert [layer.in_features for layer in layers] + [layers[-1].out_features] == widths
    assert all((layer.bias is not None) == bias for layer in layers)
    assert model[-1] is layers[-1]
    assert model(torch.zeros(2, widths[0])).shape == (2, widths[-1])


def test_mlp_accepts_a_module_class():
    assert isinstance(models.mlp([2, 3, 1], nn.ELU)[1], nn.ELU)
