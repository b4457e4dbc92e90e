"""The search in networks as people write them: against formulas, and on the user's own model."""

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

import syre_helpers as sh

from . import wild, zoo
from .test_search import arguments, counted, everything, seeded


def prepared(name):
    make, inputs, expected, hidden, left, options = wild.CASES[name]
    return seeded(make), inputs, expected, hidden, left, options


def search(model, inputs, **options):
    return sh.find_reflections(model, inputs, **{"draws": 5, **options})


def flips(counts):
    return sum(times * size for (kind, size), times in counts.items() if kind == "S")


def without_signs(counts):
    return {key: times for key, times in counts.items() if key[0] != "S" and times}


@pytest.mark.parametrize("name", wild.CASES)
def test_finds_what_the_formula_says_or_names_what_hides_it(name):
    model, inputs, expected, hidden, left, options = prepared(name)
    found = search(model, inputs, **options)
    there = expected - hidden
    assert without_signs(counted(found)) == without_signs(there)
    assert flips(counted(found)) == flips(there)
    assert all(family.violation <= 1e-12 for family in found)
    assert set(left) <= {one.operator for one in found.left_out}


OWN = [
    "convnext", "resnext", "rotary_interleaved", "linear_attention", "mamba", "deep_sets",
    "lstm_with_projections", "recommendation", "gain_per_head", "neural_ode", "compiled",
    "row_by_row", "half_precision",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", OWN)
def test_reflections_hold_on_the_model_itself(name):
    """In its own type of numbers: to its rounding; in float64: to 1e-12; and twice is once."""
    model, inputs, _, _, _, options = prepared(name)
    found = search(model, inputs, **options)
    model.eval()
    own = next(model.parameters()).dtype
    for dtype, close in ((own, 100 * torch.finfo(own).eps), (torch.float64, 1e-12)):
        model.to(dtype)
        rows = tuple(one.to(dtype) if one.is_floating_point() else one for one in inputs)
        params = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        params = {key: value.detach() for key, value in params.items()}

        def loss(state, rows=rows):
            out = functional_call(model, dict(state), rows)
            out = out[0] if isinstance(out, tuple) else out
            source = torch.Generator().manual_seed(3)
            return (out * torch.randn(out.shape, generator=source).to(out)).mean() + 1

        for family in found:
            if family.kind == "idle":
                continue
            at = family.count - 1
            R = family.reflection(*arguments(family), at=at)
            with torch.no_grad(), torch.compiler.set_stance("force_eager"):
                assert R.violation(loss, params) <= close, (family, dtype)
            if dtype == torch.float64:
                trained = {n: params[n] for n, _ in model.named_parameters()}
                image = R(R(params))
                assert all(torch.allclose(image[n], params[n], atol=1e-14) for n in trained)
                if family.rank < 30:  # it takes many applications to find
                    assert R.rank(params) == family.rank


@pytest.mark.parametrize(
    "name", ["compiled", "compiled_in_place", "hooked", "data_parallel", "norm_by_hand",
             "spectral_norm", "pruned_of_nothing", "gumbel_softmax", "one_layer_under_two_names",
             "half_precision", "forces"]
)  # fmt: skip
def test_leaves_strange_models_alone(name):
    model, inputs, _, _, _, options = prepared(name)
    for training in (True, False):
        model.train(training)
        tensors, *others, state = everything(model)
        versions = [p._version for p in model.parameters()]
        search(model, inputs, **options)
        after, *others_after, state_after = everything(model)
        assert others == others_after
        assert torch.equal(state, state_after)
        assert all(torch.equal(value, after[name]) for name, value in tensors.items())
        assert versions == [p._version for p in model.parameters()]


class Remembers(nn.Module):
    """A model with notes of its own, beside parameters and buffers."""

    def __init__(self):
        super().__init__()
        self.net = zoo.mlp(4, 5, 3)
        self.seen, self.calls, self.last = [], {"forward": 0}, torch.zeros(3)
        self.source = torch.Generator().manual_seed(4)

    def forward(self, x):
        y = self.net(x)
        self.seen.append(y)
        self.calls["forward"] += 1
        self.last.copy_(y[0].detach())
        return y + torch.rand(3, generator=self.source)


def test_notes_that_a_model_takes_are_as_they_were():
    model = seeded(Remembers)
    before = model.source.get_state()
    found = search(model, zoo.ROWS)
    assert counted(found) == zoo.families("P5")
    assert model.seen == []
    assert model.calls == {"forward": 0}
    assert not model.last.any()
    assert torch.equal(model.source.get_state(), before)


class Numbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = zoo.mlp(4, 5, 3)

    def forward(self, x):
        return self.net(x).argmax(-1)


class Drifts(Numbers):
    calls = 0

    def forward(self, x):
        Drifts.calls += 1
        return self.net(x) + Drifts.calls


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and there are many
        return torch.jit.script(zoo.mlp(4, 5, 3))


def lazy_norm():
    return nn.Sequential(nn.LazyBatchNorm1d(affine=False), nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (scripted, "script"),
        (lambda: zoo.mlp(4, 5, 3).to("meta"), "meta"),
        (Numbers, "outputs="),
        (Drifts, "two calls"),
        (lazy_norm, "call the model once"),
    ],
)
def test_models_that_cannot_be_searched_are_refused_with_a_remedy(make, message):
    model = seeded(make)
    with pytest.raises(ValueError, match=message):
        search(model, zoo.ROWS)


def noisy(m, x):
    return m.net(x) * random.random() + float(np.random.random())  # noqa: NPY002


def test_python_and_numpy_noise_is_the_same_at_each_call():
    model = seeded(lambda: wild.Function(noisy, net=zoo.mlp(4, 5, 3)))
    before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert counted(search(model, zoo.ROWS)) == zoo.families("P5")
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_the_first_call_on_a_lazy_model_is_asked_for_and_nothing_is_lost():
    model = nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(3))
    with pytest.raises(ValueError, match="call the model once"):
        search(model, zoo.ROWS)
    model(zoo.ROWS)
    assert counted(search(model, zoo.ROWS)) == zoo.families("P5")
