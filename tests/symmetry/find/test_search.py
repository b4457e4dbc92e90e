"""The search for symmetries, against the table written before it, and against mathematics."""

import collections
import random

import numpy as np
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
    assert found.idle == options.get("idle", 0)
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
            if family.kind == "idle":
                continue
            reflection = family.reflection(*arguments(family), at=family.count - 1)
            after = functional_call(model, reflection(params), inputs)
            assert (after - before).abs().max() <= 1e-12 * before.abs().max()
            if family.rank < 50:  # it takes many applications to find
                assert reflection.rank(params) == family.rank
            assert reflection.distance(reflection.nearest(params)) <= 1e-12


def everything(model):
    """Return all that a search must leave alone, to the last bit."""
    hooks = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), m.training)
        for m in model.modules()
    ]
    attributes = [sorted(vars(m)) for m in model.modules()]
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    return tensors, hooks, attributes, torch.get_rng_state()


class Drawing(torch.nn.Linear):
    """Draws from the generators of Python and of numpy, as some augmentations do."""

    def forward(self, x):
        random.random(), np.random.rand()  # noqa: NPY002 (a stranger's model)
        return super().forward(x)


def test_leaves_the_generators_of_python_and_numpy_alone():
    model, draws = Drawing(4, 3), []
    for look in (False, True):
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002
        if look:
            search(model, torch.ones(2, 4))
        draws.append((random.random(), np.random.rand()))  # noqa: NPY002
    assert draws[0] == draws[1]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["conv_bn", "dropout", "vae", "old_weight_norm"])
def test_leaves_the_model_and_the_random_state_alone(name, training):
    model, inputs, _, options = prepared(name)
    model.train(training)
    kinds = {name: (id(p), p.requires_grad, p.grad) for name, p in model.named_parameters()}
    tensors, *others, state = everything(model)
    search(model, inputs, **options)
    after, *others_after, state_after = everything(model)
    assert others == others_after
    assert torch.equal(state, state_after)
    assert tensors.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in tensors.items())
    assert kinds == {n: (id(p), p.requires_grad, p.grad) for n, p in model.named_parameters()}


@pytest.mark.parametrize("name", ["batch_norm_tanh", "llama"])
def test_the_table_does_not_depend_on_values_mode_or_type(name):
    model, inputs, _, options = prepared(name)
    expected = search(model.eval(), inputs, **options).table.drop(columns="violation")
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0)
    for dtype in (torch.float64, torch.bfloat16):
        changed = model.train().to(dtype)
        rows = tuple(one.to(dtype) if one.is_floating_point() else one for one in inputs)
        found = search(changed, rows, **options).table.drop(columns="violation")
        assert found.equals(expected)


def test_nan_in_the_weights_does_not_matter():
    model = seeded(lambda: zoo.mlp(4, 5, 3, activation=torch.nn.Tanh))
    with torch.no_grad():
        model[0].weight.fill_(torch.nan)
    assert counted(search(model, zoo.ROWS)) == zoo.families("P5 S5")


def test_a_batch_of_one_is_enough():
    for name in ("conv_bn", "batch_norm", "gpt2", "lstm", "two_towers"):
        model, inputs, expected, options = prepared(name)
        found = search(model, tuple(one[:1] for one in inputs), **options)
        assert counted(found) == expected, name
        assert found.idle == options.get("idle", 0), name


@pytest.mark.parametrize("name", ["relu", "softmax_units", "layer_norm", "lstm", "conv_bn"])
def test_equal_numbers_in_the_inputs_make_no_direction_idle(name):
    model, inputs, _, options = prepared(name)
    for equal in (torch.ones_like(inputs[0]), torch.zeros_like(inputs[0])):
        assert search(model, equal, **options).idle == options.get("idle", 0)


def test_the_penalty_of_syre_leaves_none_and_plain_decay_all():
    model, inputs, expected, _ = prepared("batch_norm_tanh")
    syre = sh.Syre(0.01)
    found = search(model, inputs, penalty=syre.penalty)
    assert counted(found) == {}
    assert [one.operator for one in found.left_out] == ["penalty"]

    def plain(model):
        return sum(p.square().sum() for p in model.parameters())

    assert counted(search(model, inputs, penalty=plain)) == expected


def test_under_parametrize_the_families_are_the_same_with_another_centre():
    model, inputs, expected, _ = prepared("tanh_deep")
    model = model.double()
    sh.Syre(0.01, sigma_ratio=1.0).parametrize(model)
    found = search(model, inputs)
    assert counted(found) == expected
    params = {name: value.detach() for name, value in model.state_dict(keep_vars=True).items()}
    before = functional_call(model, params, (inputs[0].double(),))
    for family in found:
        reflection = family.reflection(*arguments(family))
        after = functional_call(model, reflection(params), (inputs[0].double(),))
        assert (after - before).abs().max() <= 1e-12
        # On the plane the effective parameters are symmetric, not theta.
        nearest = reflection.nearest(params)
        assert reflection.distance(nearest) <= 1e-12
        assert all(float(nearest[name].abs().max()) > 0 for name in family.tensors)


@pytest.mark.parametrize(
    "name", ["tanh_deep", "conv_bn", "llama", "gpt2", "lstm", "experts_stacked"]
)
def test_without_one_of_its_tensors_no_family_holds(name):
    """The power of the proof: whatever a family moves is either needed or listed as idle."""
    model, inputs, _, options = prepared(name)
    model = model.double().eval()
    inputs = tuple(one.double() if one.is_floating_point() else one for one in inputs)
    with torch.no_grad():
        for number, p in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(number)
            p.copy_(torch.randn(p.shape, generator=generator) / max(1, p.ndim) + 0.1)
    params = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = functional_call(model, params, inputs)
    found = search(model, inputs, **options)
    idle = {name for family in found if family.idle == ("every entry",) for name in family.tensors}
    for family in found:
        if family.kind == "idle":
            continue
        image = family.reflection(*arguments(family))(params)
        for name in set(family.tensors) - idle:
            if torch.equal(image[name], params[name]):
                continue
            after = functional_call(model, {**image, name: params[name]}, inputs)
            assert (after - before).abs().max() >= 1e-6 * before.abs().max(), (family, name)


def test_what_was_not_understood_is_named_with_its_module():
    model, inputs, _, _ = prepared("unknown_operator")
    left = [(one.operator, one.why) for one in search(model, inputs).left_out]
    assert ("linalg_qr", "no rule") in left
    model, inputs, _, _ = prepared("experts_top_2")
    assert [one.operator for one in search(model, inputs).left_out] == ["topk"]
    model, inputs, _, _ = prepared("frozen_layer")
    left = [(one.operator, one.why) for one in search(model, inputs).left_out]
    assert left == [("0.weight", "frozen"), ("0.bias", "frozen")]
    model, inputs, _, _ = prepared("unused_layer")
    left = {(one.operator, one.why) for one in search(model, inputs).left_out}
    assert ("spare.0.weight", "never used") in left


def test_a_wrong_rule_makes_no_false_family(monkeypatch):
    from syre_helpers.symmetry.find.engine import RULES

    monkeypatch.setitem(RULES, "cumsum", RULES["neg"])  # as if the order of units did not count
    model, inputs, _, _ = prepared("ordered_units")
    assert counted(search(model, inputs)) == {}


class Broken(torch.nn.Linear):
    def forward(self, x):
        raise RuntimeError("out of order")


@pytest.mark.parametrize(
    ("model", "inputs", "error", "message"),
    [
        (
            torch.nn.Linear(4, 3),
            torch.ones(2, 5),
            ValueError,
            "example_input: the model cannot run",
        ),
        (torch.nn.Linear(4, 3), torch.ones(0, 4), ValueError, "empty"),
        (torch.nn.Linear(4, 3), torch.full((2, 4), torch.nan), ValueError, "not finite"),
        (torch.nn.Linear(4, 3), None, TypeError, "example_input"),
        (Broken(4, 3), torch.ones(2, 4), ValueError, "out of order"),
        (torch.nn.LazyLinear(3), torch.ones(2, 4), ValueError, "call the model once"),
        ("model", torch.ones(2, 4), TypeError, "nn.Module"),
    ],
)
def test_bad_input_is_refused_by_name(model, inputs, error, message):
    with pytest.raises(error, match=message):
        sh.find_reflections(model, inputs)


def test_bad_options_are_refused_by_name():
    model = zoo.mlp(4, 5, 3)
    for options, error in [
        ({"tol": 0}, "tol"),
        ({"draws": 0}, "draws"),
        ({"seed": -1}, "seed"),
        ({"outputs": 3}, "outputs"),
        ({"penalty": 3}, "penalty"),
        ({"outputs": lambda out: None}, "no tensor"),
    ]:
        with pytest.raises((ValueError, TypeError), match=error):
            sh.find_reflections(model, zoo.ROWS, **options)


def test_bad_units_are_refused_by_name():
    model, inputs, _, _ = prepared("single_head")
    rotation = search(model, inputs)[0]
    with pytest.raises(ValueError, match="4 units"):
        rotation.reflection(torch.tensor([0.6, 0.8]))
    with pytest.raises(ValueError, match="length 1"):
        rotation.reflection(torch.ones(4))
    swap, flip = search(*prepared("batch_norm")[:2])
    for call, message in [
        (lambda: swap.reflection(1), "two units"),
        (lambda: swap.reflection(1, 5), "unit 5 is out of range"),
        (lambda: swap.reflection(1, 1), "different"),
        (lambda: swap.reflection(0, 1, at=1), "at=1"),
        (lambda: flip.reflection(0, 1), "one unit"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_rows_of_a_unit_tell_twins_and_the_dead():
    model = seeded(lambda: zoo.mlp(4, 6, 3, activation=torch.nn.Tanh))
    sh.models.tie_units(model, "0", [(1, 4)])
    sh.models.kill_units(model, "0", [2])
    rows = search(model, zoo.ROWS)[0].vectors(dict(model.named_parameters()))
    assert rows.shape == (1, 6, 4 + 1 + 3)
    assert torch.equal(rows[0, 1], rows[0, 4])
    assert not rows[0, 2].any()
    assert rows[0, 0].any()


def test_under_parametrize_twins_are_those_of_the_effective_parameters():
    model = seeded(lambda: zoo.mlp(4, 6, 3, activation=torch.nn.Tanh)).double()
    sh.Syre(0.01, sigma_ratio=1.0).parametrize(model)
    with torch.no_grad():
        for layer, axis in ((model[0], 0), (model[2], 1)):
            weight = layer.weight.clone()
            weight.select(axis, 4).copy_(weight.select(axis, 1))
            layer.weight = weight  # theta, so that theta + theta_0 is this
        bias = model[0].bias.clone()
        bias[4] = bias[1]
        model[0].bias = bias
    rows = search(model, zoo.ROWS)[0].vectors(dict(model.named_parameters()))
    assert (rows[0, 1] - rows[0, 4]).abs().max() <= 1e-15
    assert (rows[0, 1] - rows[0, 0]).abs().max() > 0.1


def at_random(model, seed):
    """Return random parameters that train: small biases, and no ReLU shut for every row."""
    params = {}
    for number, (n, p) in enumerate(model.named_parameters()):
        source = torch.Generator().manual_seed(1000 * seed + number)
        drawn = torch.randn(p.shape, generator=source).double()
        if p.requires_grad:
            small = n.endswith("bias")
            one = p.ndim and p[0].numel() == 1
            params[n] = drawn / 5 if small else drawn + drawn.sign() if one else drawn
    return params


def jacobian(model, params, inputs, outputs):
    """Return the derivatives of all outputs by all parameters, in float64."""
    flat = torch.cat([p.reshape(-1) for p in params.values()])

    def called(vector):
        parts = vector.split([p.numel() for p in params.values()])
        own = {n: one.view(params[n].shape) for n, one in zip(params, parts, strict=True)}
        made = outputs(functional_call(model, own, inputs))
        made = made if isinstance(made, tuple) else (made,)
        return torch.cat([one.reshape(-1) for one in made if one is not None])

    return torch.autograd.functional.jacobian(called, flat)


def nullity(matrix):
    spectrum = torch.linalg.svdvals(matrix)
    return matrix.shape[1] - int((spectrum > 1e-9 * spectrum[0]).sum())


# How many directions leave the outputs alone at a random point: what a continuous symmetry has, by
# its formula, beside the idle directions of the zoo.
FLAT = {
    "relu": 5,  # one rescaling per unit
    "tanh_deep": 0,
    # GL(5) and the bias between, without what leaves every product of these shapes alone.
    "linear": 5 * 5 + 5 - (5 - 4) * (5 - 3),
    "swiglu": 5,  # up against down
    # Quadratic functions of four numbers have 15 coefficients, for each of three outputs.
    "bilinear_gate": 68 - 3 * 15,
    "single_head": 2 * 4 * 4,  # GL(4) of queries with keys, and of values with outputs
    "packed_like_timm": 2 * 2 * 4 * 4,
    "prelu": 5,
    # Gains against writers; rescaling of six ReLUs; four inputs make a stream of five, so that each
    # ReLU's row has a direction that it never meets; two biases of the stream.
    "layer_scale": 5 + 6 + 6 + 5,
    "weight_norm": 5 + 5,  # the length of each row, and ReLU's rescaling
    "rms_norm": 5 + 1,  # the size of the whole, beside ReLU's rescaling
    "lora": 2 * 2,
    "tied_autoencoder": 0,
    "linear_rnn": 5 * 5 + 5,  # GL(5), and of seven biases two count
    "product_of_vectors": 4,
    "rnn": 0,
    "lstm": 0,
    "softmax_units": 0,
    "layer_norm": 5,  # ReLU's rescaling
    # relu(z) - relu(-z) = z: five units make all affine functions of four inputs, so that for each
    # output the bias is one of their combinations; and five rescalings.
    "crelu": 5 + 3,
    "experts_stacked": 3 * 5,
    "two_linear_maps": 0,
    "mean_of_matrices": 5,
    "three_biases": 5,
}


@pytest.mark.parametrize("name", FLAT)
def test_flat_directions_are_accounted_for_to_the_unit(name):
    model, inputs, _, options = prepared(name)
    model = model.double().eval()
    source = torch.Generator().manual_seed(5)
    many = tuple(torch.randn(60, *one.shape[1:], generator=source).double() for one in inputs)
    matrix = jacobian(model, at_random(model, 0), many, lambda out: out)
    assert nullity(matrix) == FLAT[name] + options.get("idle", 0)


# Many small networks of the zoo: the formulas for their idle directions, by mathematics.
APART = {
    "written_through_a_view",  # writes over what a derivative needs
    "part_assigned",  # likewise
    # Outputs that a Fourier transform makes equal are read twice, and entries whose differences it
    # does not read are idle: no direction along an axis, and not looked for.
    "unknown_operator",
    "unused_layer",  # what is never used is left out
}
TRUE = [
    name
    for name, (_, inputs, _, options) in zoo.CASES.items()
    if (options.get("idle") or inputs[0] is zoo.ROWS)
    and name not in APART | {"resnet18", "vit", "half", "all_frozen", "vae"}
]


@pytest.mark.parametrize("name", TRUE)
def test_the_formula_of_idle_directions_holds_at_all_points_at_once(name):
    """A direction is idle where no derivative of any output, at any state, has a share in it."""
    model, inputs, _, options = prepared(name)
    model = model.double().eval()
    outputs = options.get("outputs", lambda out: out)
    rows, seed = [], 0
    while len(rows) < 12 or sum(map(len, rows)) < 1.5 * rows[0].shape[1]:
        source = torch.Generator().manual_seed(seed)
        own = tuple(
            torch.randn(20, *one.shape[1:], generator=source).double()
            if one.is_floating_point()
            else one
            for one in inputs
        )
        matrix = jacobian(model, at_random(model, seed), own, outputs)
        rows.append(matrix / matrix.norm())
        seed += 1
    assert nullity(torch.cat(rows)) == options.get("idle", 0)


def test_a_flip_that_exchanges_two_readers_is_a_symmetry_and_is_not_looked_for():
    """A limit: relu(x) beside relu(-x) has a sign flip that moves a unit's two readers."""
    model, inputs, _, _ = prepared("crelu")
    model = model.double()
    x = inputs[0].double()

    def exchanged(p):
        order = torch.tensor([5, 1, 2, 3, 4, 0, 6, 7, 8, 9])  # the readers of unit 0
        sign = torch.tensor([-1.0, 1, 1, 1, 1]).double()
        return {
            "a.weight": sign[:, None] * p["a.weight"],
            "a.bias": sign * p["a.bias"],
            "b.weight": p["b.weight"][:, order],
        }

    params = dict(model.named_parameters())
    loss = lambda p: functional_call(model, p, (x,)).square().mean()  # noqa: E731
    assert sh.Reflection(exchanged).violation(loss, params) <= 1e-14
    assert not any(family.kind == "sign" for family in search(model, inputs))


def idle_rows(found):
    return {one.layers: (one.units, one.idle) for one in found if one.kind == "idle"}


def test_idle_rows_say_where_the_directions_are():
    model, inputs, _, _ = prepared("gpt2_untied")
    found = search(model, inputs)
    written = ("weight along axis 0", "bias along axis 0")
    expected = {
        ("embed",): (7, ("weight along axis 1",)),
        ("position",): (5, ("position along axis 1",)),
        ("position", "embed"): (7, ("position with weight",)),
    }
    for block in ("blocks.0", "blocks.1"):
        expected |= {
            (f"{block}.attention.k",): (8, ("every entry",)),
            (f"{block}.attention.o",): (9, written),
            (f"{block}.down",): (13, written),
        }
    assert idle_rows(found) == expected
    assert [family.kind for family in found][-9:] == ["idle"] * 9
    assert "in 15 families; 79 idle directions" in repr(found)
    assert "R^9: blocks.0.attention.o (weight along axis 0; bias along axis 0)" in repr(found)
    assert set(found.table.group[-9:]) == {"R^5", "R^7", "R^8", "R^9", "R^13"}
    model, inputs, _, _ = prepared("gru")
    (row,) = idle_rows(search(model, inputs)).items()
    assert row == (("a",), (10, ("bias_ih_l0 with bias_hh_l0",)))
    model, inputs, _, _ = prepared("mean_of_matrices")
    assert idle_rows(search(model, inputs)) == {("w",): (40, ("w, sums to zero",))}


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("lstm", {"a.bias_ih_l0": lambda z: z[:20, 0], "a.bias_hh_l0": lambda z: -z[:20, 0]}),
        ("experts_in_a_list", {"router.weight": lambda z: z[0, :4].expand(3, 4)}),
        ("softmax_units", {"2.weight": lambda z: z[:3, :1].expand(3, 5),
                           "2.bias": lambda z: -z[:3, 0]}),
        ("two_linear_maps_transposed", {"a.weight": lambda z: z[:3, :4],
                                        "w": lambda z: -z[:3, :4].t() / 2}),
    ],
)  # fmt: skip
def test_a_shift_leaves_the_outputs_alone_and_part_of_it_does_not(name, moved):
    """By closed formula, without the search: its rows name just these tensors."""
    model, inputs, _, options = prepared(name)
    model, x = model.double(), inputs[0].double()
    params = {n: p.detach() for n, p in model.named_parameters()}
    z = torch.randn(20, 20, generator=torch.Generator().manual_seed(3)).double()
    before = functional_call(model, params, x)
    image = params | {n: params[n] + change(z) for n, change in moved.items()}
    assert (functional_call(model, image, x) - before).abs().max() < 1e-13
    for n, change in moved.items():
        half = image | {n: params[n]} if len(moved) > 1 else dict(params)
        if len(moved) == 1:
            half[n] = params[n].clone()
            half[n][0] += change(z)[0]
        assert (functional_call(model, half, x) - before).abs().max() > 1e-6
    tensors = [one.tensors for one in search(model, x, **options) if one.kind == "idle"]
    assert any(set(moved) <= set(each) for each in tensors)


def test_an_idle_direction_has_no_reflection_and_says_why():
    model, inputs, _, _ = prepared("rnn")
    (row,) = (one for one in search(model, inputs) if one.kind == "idle")
    with pytest.raises(ValueError, match="idle directions change no output"):
        row.reflection(0)
    with pytest.raises(ValueError, match="no units with scalars"):
        row.vectors(dict(model.named_parameters()))


def test_idle_directions_under_parametrize_and_in_half_precision_are_the_same():
    for name in ("lstm", "softmax_units", "pre_norm_stream"):
        model, inputs, _, options = prepared(name)
        half = search(model.bfloat16(), tuple(one.bfloat16() for one in inputs), **options)
        assert half.idle == options["idle"]
    for name in ("softmax_units", "pre_norm_stream"):
        model, inputs, _, options = prepared(name)
        sh.Syre(0.01).parametrize(model)
        found = search(model, inputs, **options)
        assert found.idle == options["idle"]
        assert all("original" not in word for one in found for word in one.idle)


def test_without_a_gradient_combinations_are_not_looked_for_and_it_is_said():
    model, inputs, _, options = prepared("part_assigned")
    found = search(model, inputs)
    assert found.idle == options["idle"]  # entries are found by evaluation
    (left,) = found.left_out
    assert (left.operator, left.why) == (
        "backward", "no gradient: idle combinations are not looked for",
    )  # fmt: skip


def test_what_is_detached_is_not_called_idle():
    """A bias whose gradient is cut off still counts in the outputs."""
    model = seeded(
        lambda: zoo.Function(
            lambda m, x: m.b(torch.tanh(m.a(x) + m.cut_bias.detach())),
            a=torch.nn.Linear(4, 5),
            cut_bias=zoo.param(5),
            b=torch.nn.Linear(5, 3),
        )
    )
    assert search(model, zoo.ROWS).idle == 0


def test_a_gradient_that_does_not_tell_the_truth_makes_nothing_idle():
    """Both biases have the gradient of a sum, and only one of them is used."""
    model = seeded(
        lambda: zoo.Function(
            lambda m, x: torch.tanh(m.a(x) + m.one + m.two + (m.one - m.two).detach()),
            a=torch.nn.Linear(4, 3, bias=False),
            one=zoo.param(3),
            two=zoo.param(3),
        )
    )
    assert search(model, zoo.ROWS).idle == 0


def test_units_of_residual_networks_and_attention_need_no_outgoing():
    model = seeded(lambda: sh.models.resnet18(3, width=2)).double().eval()
    images = zoo.IMAGES.double()
    params = model.state_dict()
    with torch.no_grad():
        for name, p in params.items():
            if p.is_floating_point():
                drawn = torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name)))
                p.copy_(drawn.abs() + 0.5 if name.endswith("var") else drawn)
    before = functional_call(model, params, (images,))
    for reflection in (
        sh.permutation_reflection(model, "stage2.0.conv2", 0, 3, example_input=images),
        sh.sign_reflection(model, "stage2.0.conv1", 1, example_input=images),
    ):
        after = functional_call(model, reflection(params), (images,))
        assert (after - before).abs().max() <= 1e-12 * before.abs().max()
        assert reflection.distance(params) > 0.1
    with pytest.raises(ValueError, match="no swap of units 0 and 1"):
        sh.permutation_reflection(model, "readout", 0, 1, example_input=images)
    with pytest.raises(ValueError, match="out of range"):
        sh.permutation_reflection(model, "stem.conv", 0, 2, example_input=images)
    with pytest.raises(ValueError, match="leave outgoing"):
        sh.permutation_reflection(model, "stem.conv", 0, 1, outgoing="x", example_input=images)


def test_units_of_a_head_swap_with_one_another_only():
    model, inputs, _, _ = prepared("vit")
    R = sh.permutation_reflection(model, "blocks.0.attention.value", 0, 3, example_input=inputs)
    # Two rows of the values, and two columns of the outputs.
    assert R.rank(dict(model.named_parameters())) == 8 + 8
    for other in (4, 5):
        with pytest.raises(ValueError, match="different heads"):
            sh.permutation_reflection(
                model, "blocks.0.attention.value", 0, other, example_input=inputs
            )
    flip = sh.sign_reflection(model, "blocks.0.attention.query", 5, example_input=inputs)
    assert flip.rank(dict(model.named_parameters())) == 8 + 8
    with pytest.raises(ValueError, match="no sign flip"):
        sh.sign_reflection(model, "blocks.0.mlp.0", 0, example_input=inputs)


@pytest.mark.slow  # 11 million parameters in float64
def test_the_standard_resnet_18():
    found = search(sh.models.resnet18(), torch.ones(1, 3, 32, 32))
    assert (found.swaps, found.flips, found.rotations) == (520_800, 4_800, 0)
    assert found.left_out == ()


@pytest.mark.slow  # 10 million parameters in float64
def test_a_transformer_of_ten_million():
    blocks = [zoo.Block(384, 6, 1536, packed=True) for _ in range(6)]
    found = search(zoo.Decoder(384, blocks, vocabulary=64), zoo.tokens(1))
    swaps = 384 * 383 // 2 + 6 * (6 * 5 // 2 + 1536 * 1535 // 2)
    assert (found.swaps, found.flips, found.rotations) == (swaps, 12 * 384 + 1, 2 * 6 * 6)


class PooledChannelsLast(torch.nn.Module):
    """As ConvNeXt ends: pooled to one place after a permutation, where PyTorch sets strides."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = torch.nn.Linear(3, 8), torch.nn.Linear(8, 2)
        self.pool = torch.nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        return self.head(self.pool(self.stem(x).tanh().permute(0, 3, 1, 2)).flatten(1))


def test_pooling_of_channels_last_hides_nothing():
    model, x = seeded(PooledChannelsLast), torch.randn(2, 5, 5, 3)
    found = search(model, x)
    assert counted(found) == zoo.families("P8 S8")
    assert not found.left_out


def test_the_networks_of_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, vocab_size=20, n_positions=16, use_cache=False
    )
    model = seeded(lambda: transformers.GPT2LMHeadModel(config))
    found = search(model, {"input_ids": zoo.tokens()})
    assert counted(found) == zoo.families("P16 2xP2 2xP64 8xR8 4xS16 S1")


def mixtral(experts, layers=1):
    transformers = pytest.importorskip("transformers")
    config = transformers.MixtralConfig(
        hidden_size=16, intermediate_size=12, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, vocab_size=20,
        max_position_embeddings=32, use_cache=False, head_dim=4, experts_implementation=experts,
    )  # fmt: skip
    return seeded(lambda: transformers.MixtralForCausalLM(config))


@pytest.mark.parametrize("layers", [1, 2])
def test_a_mixture_of_experts_is_searched_and_its_router_named(layers):
    """As a Llama; each expert has its own units, and the experts of a layer change places."""
    found = search(mixtral("eager", layers), {"input_ids": zoo.tokens()})
    each = zoo.families("P2 2xP2 2xR4 2xS2 2xS16 4xP12 4xS12 P4")
    expected = zoo.families("P16 2xS16")
    for _ in range(layers):
        expected += each
    assert counted(found) == expected
    assert "topk" in {one.operator for one in found.left_out}


def test_experts_that_are_gathered_by_the_choice_change_places():
    """Of every row the weights of its experts are taken out of the stack."""

    def forward(m, x):
        top = torch.softmax(m.router(x), -1).topk(2, -1)
        hidden = torch.relu(torch.einsum("bd,bkdf->bkf", x, m.up[top.indices]))
        return torch.einsum("bkf,bkfo,bk->bo", hidden, m.down[top.indices], top.values)

    model = seeded(
        lambda: zoo.Function(
            forward, router=torch.nn.Linear(4, 3), up=zoo.param(3, 4, 5), down=zoo.param(3, 5, 2)
        )
    )
    found = search(model, zoo.ROWS)
    assert counted(found)["P", 3] == 1
    (swap,) = (one for one in found if one.units == 3)
    assert set(swap.tensors) == {"router.weight", "router.bias", "up", "down"}


def test_experts_that_no_row_chose_have_no_false_families():
    """Whatever is done to them leaves the outputs alone, for these rows and at this state."""

    def forward(m, x):
        chosen = torch.softmax(m.router(x), -1).argmax(-1)
        out = x.new_zeros(len(x), 2)
        for expert in range(4):
            (rows,) = (chosen == expert).nonzero(as_tuple=True)
            if len(rows):
                hidden = torch.relu(x[rows] @ m.up[expert])
                out = out.index_add(0, rows, hidden @ m.down[expert])
        return out

    model = seeded(
        lambda: zoo.Function(
            forward, router=torch.nn.Linear(4, 4), up=zoo.param(4, 4, 5), down=zoo.param(4, 5, 2)
        )
    )
    true = zoo.families("P4 4xP5")
    for rows in (1, 2, 6):
        found = counted(search(model, zoo.ROWS[:rows]))
        assert found <= true, rows
        assert found["P", 4] == 1


def test_what_an_expert_reads_moves_with_the_stream_though_no_row_chose_it():
    """Units of the stream are told from one another by an expert that these rows leave out."""

    def forward(m, x):
        x = m.stem(x)
        chosen = torch.softmax(m.router(x), -1).argmax(-1)
        out = x.new_zeros(len(x), 2)
        for expert in range(3):
            (rows,) = (chosen == expert).nonzero(as_tuple=True)
            if len(rows):
                out = out.index_add(0, rows, torch.relu(m.experts[expert](x[rows])))
        return out

    def make():
        experts = torch.nn.ModuleList(torch.nn.Linear(5, 2) for _ in range(3))
        stem, router = torch.nn.Linear(4, 5), torch.nn.Linear(5, 3)
        return zoo.Function(forward, stem=stem, router=router, experts=experts)

    for seed in range(6):
        found = search(seeded(make), zoo.ROWS[:2], seed=seed)
        assert counted(found) <= zoo.families("R5 M3"), seed
        for family in found:
            if family.kind == "rotation":
                read = {f"experts.{expert}.weight" for expert in range(3)}
                assert read <= set(family.tensors), seed


def test_experts_that_cannot_be_computed_in_float64_are_refused_by_name():
    with pytest.raises(ValueError, match=r"cannot run on it in float64.*Double"):
        search(mixtral("grouped_mm"), {"input_ids": zoo.tokens()})


def made_equal(tensor):
    """Return a tensor whose first two entries along every axis are equal."""
    for axis, length in enumerate(tensor.shape):
        if length > 1:
            first, second = tensor.select(axis, 0), tensor.select(axis, 1)
            mean = (first + second) / 2
            rest = tensor.narrow(axis, 2, length - 2)
            tensor = torch.cat([torch.stack([mean, mean], axis), rest], axis)
    return tensor


@pytest.mark.parametrize(
    "name",
    ["tanh_deep", "no_hidden_layer", "batch_norm", "added_in_place", "conv_bn", "residual_stream",
     "layer_scale", "squeeze_excite", "tied_autoencoder", "rnn", "linear_rnn", "swiglu",
     "fixed_gains", "ordered_units", "frozen_layer", "shared_branches", "mixed_dtypes",
     "channels_padded_with_zeros"],
)  # fmt: skip
def test_mirror_planes_by_their_own_property_are_the_same(name):
    """A second opinion that sees no operation: where P grad vanishes on a plane, it is a mirror.

    The first two entries along every axis of every tensor are made equal. Then the gradient is
    equal in both along exactly those axes whose first two units may change places, as long as each
    tensor counts them from its first entry.
    """
    model, inputs, _, options = prepared(name)
    model = model.double().eval()
    inputs = tuple(one.double() if one.is_floating_point() else one for one in inputs)
    state, moving = {}, {n for n, p in model.named_parameters() if p.requires_grad}
    for number, (key, value) in enumerate(model.state_dict().items()):
        drawn = torch.randn(value.shape, generator=torch.Generator().manual_seed(number)).double()
        running = "running" in key
        state[key] = made_equal(drawn.abs() + 0.5 if running else drawn)
        state[key] = state[key] if running or key in moving else value
    leaves = {key: state[key].requires_grad_() for key in moving}
    out = functional_call(model, {**state, **leaves}, inputs)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(99)).double()
    (out * weight).sum().backward()
    largest = max(float(leaf.grad.abs().max()) for leaf in leaves.values())
    mirrors = {
        (key, axis)
        for key, leaf in leaves.items()
        for axis, length in enumerate(leaf.shape)
        if length > 1
        and bool(leaf.grad.abs().max() > 1e-6 * largest)
        and float((leaf.grad.select(axis, 0) - leaf.grad.select(axis, 1)).abs().max())
        <= 1e-10 * largest
    }
    found = set()
    for family in search(model, inputs, **options):
        if family.kind in ("permutation", "rotation"):
            for site in family.candidate.sites:
                if site.piece.name in moving and site.unit[0] >= 0 and site.unit[1] >= 0:
                    found.add((site.piece.name, site.axis))
    assert mirrors == found
