"""Names of parameters, the same whatever the model is wrapped in."""

import pytest
import torch
from torch import nn

from syre_helpers.removal import names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("module.0.weight", "0.weight"),
        ("_orig_mod.module.0.weight", "0.weight"),
        ("a.parametrizations.weight.original", "a.weight"),
        ("a.parametrizations.weight.original0", "a.weight0"),
        ("submodule.weight", "submodule.weight"),
        ("a.module.b", "a.b"),
        ("module.0._checkpoint_wrapped_module.weight", "0.weight"),
    ],
)
def test_canonical_names(name, expected):
    assert names.canonical_name(name) == expected


def test_clashing_canonical_names_are_refused():
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(2))
    model.module = nn.Module()
    model.module.weight = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="'weight'"):
        names.named_parameters(model)


def test_a_model_that_is_sharded_in_the_old_way_is_refused():
    flattened = nn.ModuleDict({"_fsdp_wrapped_module": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match=r"'_fsdp_wrapped_module\.weight' is flattened"):
        names.named_parameters(flattened)


def test_a_prefix_is_seen_whatever_the_order_of_the_saved_names():
    whole, part = {"net.a": 1.0, "net.b": 2.0}, {"b": 2.0, "a": 1.0}
    assert names.saved_names(whole, part) == {"net.a": "a", "net.b": "b"}
    assert names.saved_names(part, whole) == {"b": "net.b", "a": "net.a"}
