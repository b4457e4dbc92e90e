"""Modules that change places, each judged as one unit: experts, ensembles, paths side by side."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

import syre_helpers as sh
from small_faults import seeded, state_of
from syre_helpers import arms

LOSS = functional.cross_entropy
EXPERTS, WIDTH, HIDDEN, CLASSES = 4, 6, 10, 3
EACH = HIDDEN * WIDTH + HIDDEN + CLASSES * HIDDEN + CLASSES  # scalars of one expert
NAME = "experts.0 to experts.3 [4 modules]"


def network(activation=nn.Tanh, inputs=WIDTH, hidden=HIDDEN, outputs=CLASSES):
    return nn.Sequential(nn.Linear(inputs, hidden), activation(), nn.Linear(hidden, outputs))


class Mixture(nn.Module):
    """Experts in a list behind a router; without a router, the mean of an ensemble."""

    def __init__(self, *experts, router=True):
        super().__init__()
        self.router = nn.Linear(WIDTH, len(experts)) if router else None
        self.experts = nn.ModuleList(experts)

    def forward(self, x):
        outputs = torch.stack([expert(x) for expert in self.experts], -1)
        if self.router is None:
            return outputs.mean(-1)
        return (outputs * self.router(x).softmax(-1)[:, None]).sum(-1)


class Paths(nn.Module):
    """Paths side by side: one layer reads all that they make."""

    def __init__(self):
        super().__init__()
        self.paths = nn.ModuleList(network(outputs=4) for _ in range(3))
        self.readout = nn.Linear(12, CLASSES)

    def forward(self, x):
        return self.readout(torch.cat([path(x) for path in self.paths], 1).relu())


class Stack(nn.Module):
    """Experts in stacked tensors, the best two of which a router chooses."""

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(WIDTH, EXPERTS)
        self.up = nn.Parameter(torch.randn(EXPERTS, WIDTH, HIDDEN) / 3)
        self.bias = nn.Parameter(torch.randn(EXPERTS, HIDDEN) / 3)
        self.down = nn.Parameter(torch.randn(EXPERTS, HIDDEN, CLASSES) / 3)

    def forward(self, x):
        gates = self.router(x).softmax(-1)
        top = gates.topk(2, -1)
        gates = torch.zeros_like(gates).scatter(1, top.indices, top.values)
        hidden = torch.tanh(torch.einsum("bd,edf->ebf", x, self.up) + self.bias[:, None])
        return torch.einsum("ebf,efo,be->bo", hidden, self.down, gates)


def mixture(router=True, count=EXPERTS, dtype=torch.float64):
    return seeded(lambda: Mixture(*(network() for _ in range(count)), router=router), dtype)


def data(dtype=torch.float64, samples=96):
    source = torch.Generator().manual_seed(1)
    x = torch.randn(samples, WIDTH, generator=source).to(dtype)
    return x, torch.randint(CLASSES, (samples,), generator=source)


def upcycled(model, noise=0.0):
    """Let all experts be copies of the first, and the router know no difference."""
    source = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for expert in model.experts[1:]:
            expert.load_state_dict(model.experts[0].state_dict())
        if model.router is not None:
            model.router.weight[:], model.router.bias[:] = model.router.weight[0], 0.0
        for p in model.parameters():
            p += noise * torch.randn(p.shape, generator=source).to(p.dtype)
    return model


def swap(model):
    return next(one for one in sh.find_reflections(model, data()[0]) if one.kind == "module swap")


def judged(model, **how):
    """The findings on the class of modules, and the report."""
    report = sh.diagnose(model, how.pop("batch", data()), **{"loss": LOSS, **how})
    return next(one for one in report.findings if one.kinds == ("module swap",)), report


def scalars(state, expert):
    """What moves with an expert, from the names of the tensors."""
    own = [value.flatten() for name, value in state.items() if f"experts.{expert}." in name]
    shared = [value[expert].flatten() for name, value in state.items() if "router" in name]
    return torch.cat(own + shared)


# ---- the vectors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("router", [True, False])
def test_a_module_is_all_scalars_that_move_with_it(router):
    model = mixture(router)
    family, state = swap(model), state_of(model)
    vectors = family.vectors(state)
    assert vectors.shape == (1, EXPERTS, EACH + (WIDTH + 1) * router)
    for expert in range(EXPERTS):
        expected = scalars(state, expert)
        assert torch.equal(vectors[0, expert].sort().values, expected.sort().values)
    # In one order for all modules: the difference is that of the mirror plane.
    apart = (vectors[0, 1] - vectors[0, 3]).norm()
    assert math.sqrt(2) * family.reflection(1, 3).distance(state) == pytest.approx(float(apart))
    assert torch.equal(family.vectors(state_of(upcycled(model)))[0, 2], vectors[0, 0]) is not router


def test_running_statistics_are_no_scalars_of_a_module():
    def make():
        return Mixture(*(nn.Sequential(nn.Linear(WIDTH, 5), nn.BatchNorm1d(5), nn.ReLU(),
                                       nn.Linear(5, CLASSES)) for _ in range(3)))  # fmt: skip

    model = seeded(make)
    family = swap(model)
    assert any("running_var" in name for name in family.buffers)
    own = WIDTH * 5 + 5 + 5 + 5 + 5 * CLASSES + CLASSES + WIDTH + 1
    assert family.vectors(dict(model.named_parameters())).shape == (1, 3, own)
    assert judged(model)[0].dead.units == []


def test_under_parametrize_the_vectors_are_those_of_the_effective_parameters():
    model = mixture()
    plain = swap(model).vectors(state_of(model))
    sh.Syre(0.01, sigma_ratio=1.0).parametrize(model)
    hidden = {name: value.detach() for name, value in model.state_dict(keep_vars=True).items()}
    torch.testing.assert_close(swap(model).vectors(hidden), plain)


def test_a_sign_of_whole_tensors_has_no_vectors():
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.ReLU(),
                                         nn.Linear(5, 3)))  # fmt: skip
    (whole,) = (one for one in sh.find_reflections(model, torch.ones(2, 4)) if one.kind == "sign")
    with pytest.raises(ValueError, match="no units with scalars"):
        whole.vectors(state_of(model))


# ---- copies and near pairs -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("router", [True, False])
def test_experts_that_are_copies_are_reported(router, dtype):
    found, report = judged(upcycled(mixture(router, dtype=dtype)), batch=data(dtype))
    assert found.name == NAME
    assert found.planes.groups == ((0, 1, 2, 3),)
    assert report.alarms == {NAME: ["3 modules copy others exactly, in 1 group"]}
    row = report.table.loc[NAME]
    assert (row.kinds, row.units, row.twins, row.nearest) == ("module swap", 4, 3, 0)
    for unknown in ("weight_rank", "feature_rank_exact", "effective_rank", "dead_by_function"):
        assert math.isnan(row[unknown]), unknown
    assert "exact copies, which no gradient parts" in report.advice


def test_the_copies_are_named_and_the_others_are_not():
    model = mixture()
    with torch.no_grad():
        model.experts[3].load_state_dict(model.experts[1].state_dict())
        model.router.weight[3], model.router.bias[3] = model.router.weight[1], model.router.bias[1]
    found, _ = judged(model)
    assert found.planes.groups == ((1, 3),)
    assert found.planes.null > 0.5


def test_copies_behind_a_router_that_tells_them_apart_are_near_and_no_copies():
    """Upcycled: only the router's rows differ, so training leaves the plane by itself."""
    model = mixture()
    rows = torch.cat([model.router.weight, model.router.bias[:, None]], 1).detach()
    upcycled(model)
    with torch.no_grad():
        model.router.weight[:], model.router.bias[:] = rows[:, :-1], rows[:, -1]
    found, _ = judged(model)
    vectors = swap(model).vectors(state_of(model))[0]
    expected = min(
        float((vectors[i] - vectors[j]).norm() / vectors[[i, j]].norm())
        for i in range(4)
        for j in range(i)
    )
    assert found.planes.nearest.distance == pytest.approx(expected)
    assert found.twins == 0


@pytest.mark.parametrize("router", [True, False])
def test_two_near_experts_that_attract_raise_an_alarm(router):
    """Of two there is no shuffled null: exchanging scalars leaves their distance as it is."""
    model = upcycled(mixture(router, count=2), noise=0.005)
    found, report = judged(model, weight_decay=1.0)
    assert math.isnan(found.planes.null)
    assert found.name == "experts.0 and experts.1 [2 modules]"
    assert found.planes.closing.units == (0, 1)
    (said,) = report.alarms[found.name]
    assert said.startswith("modules 0 and 1 attract each other at a distance of 0.0")
    assert "shuffled" not in said
    assert f"In {found.name}, modules 0 and 1: " in report.advice


def test_where_all_are_near_the_verdict_says_that_shuffled_ones_are_too():
    _, report = judged(upcycled(mixture(), noise=0.005), weight_decay=1.0)
    assert report.alarms == {}
    assert f"In {NAME} shuffled weights are nearer than 0.1, too" in report.verdict


@pytest.mark.parametrize("router", [True, False])
def test_the_rate_is_that_of_a_small_step(router):
    model, lr, decay = mixture(router), 1e-6, 0.3
    found, _ = judged(model, weight_decay=decay)
    x, y = data()
    LOSS(model(x), y).backward()
    i, j = found.planes.nearest.units
    before = (scalars(state_of(model), i) - scalars(state_of(model), j)).norm()
    with torch.no_grad():
        for p in model.parameters():
            p -= lr * (p.grad + decay * p)
    after = (scalars(state_of(model), i) - scalars(state_of(model), j)).norm()
    assert found.planes.nearest.rate == pytest.approx(float((after / before).log()) / lr, rel=1e-3)


def test_the_force_under_syre_is_the_escape_force_of_the_swap():
    model = upcycled(mixture())
    state, syre, (x, y) = state_of(model), sh.Syre(0.5, sigma_ratio=0.3), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = syre.attach(optimizer, model)

    def regularised(params):
        return LOSS(functional_call(model, params, (x,)), y) + syre.pull(params).penalty(params)

    pair = judged(model)[0].planes.nearest
    expected = sh.escape_force(swap(model).reflection(*pair.units), regularised, state)
    assert pair.force == pytest.approx(expected, rel=1e-6)
    handle.remove()


def test_copies_with_their_hidden_units_in_another_order_are_not_seen_and_that_is_said():
    model = upcycled(mixture())
    order = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    with torch.no_grad():
        for expert in (1, 2, 3):
            first, _, last = model.experts[expert]
            order = order.roll(1)
            first.weight[:], first.bias[:] = first.weight[order], first.bias[order]
            last.weight[:] = last.weight[:, order]
    found, report = judged(model)
    assert found.twins == 0
    assert any("in another order" in why for _, why in report.left_out)


def test_stacked_experts_behind_a_choice_are_judged_as_modules():
    model = seeded(Stack)
    state = state_of(model)
    (family,) = (one for one in sh.find_reflections(model, data()[0]) if one.units == EXPERTS)
    own = WIDTH * HIDDEN + HIDDEN + HIDDEN * CLASSES + WIDTH + 1
    assert family.vectors(state).shape == (1, EXPERTS, own)
    with torch.no_grad():
        for tensor in (model.up, model.bias, model.down):
            tensor[[1, 2]] = tensor[[0, 3]]
        # Experts 1 and 0 are copies. The router tells 3 and 2 apart.
        model.router.weight[1], model.router.bias[1] = model.router.weight[0], model.router.bias[0]
    table = sh.diagnose(model, data(), loss=LOSS).table
    row = table[table.units == EXPERTS].iloc[0]
    assert (row.twins, row.dead) == (1, 0)
    assert math.isnan(row.weight_rank)
    assert math.isnan(row.feature_rank_exact)
    with torch.no_grad():
        model.router.weight.zero_()  # as after upcycling: all logits are alike, and no expert dead
        model.router.bias.zero_()
    table = sh.diagnose(model, data(), loss=LOSS).table
    assert table[table.units == EXPERTS].dead.item() == 0


# ---- dead modules --------------------------------------------------------------------------------


@pytest.mark.parametrize("with_loss", [True, False])
@pytest.mark.parametrize("router", [True, False])
def test_a_module_whose_weights_are_all_zero_is_dead(router, with_loss):
    model = mixture(router)
    with torch.no_grad():
        for p in model.experts[2].parameters():
            p.zero_()
        model.experts[2][2].bias += with_loss  # it goes on learning a constant
    how = {} if with_loss else {"loss": None, "batch": data()[0]}
    found, report = judged(model, **how)
    assert found.dead.roads == {2: "mirror plane"}
    assert report.alarms[NAME] == ["1 of 4 modules is dead (1 by mirror plane)"]


def test_a_stacked_expert_whose_weights_are_all_zero_is_dead():
    model = seeded(Stack)
    with torch.no_grad():
        for tensor in (model.up, model.bias, model.down):
            tensor[2] = 0
    report = sh.diagnose(model, data(), loss=LOSS)
    found = next(one for one in report.findings if one.width == EXPERTS)
    assert found.dead.roads == {2: "mirror plane"}


def test_dead_modules_are_no_copies_of_each_other():
    model = mixture(router=False)
    with torch.no_grad():
        for p in [*model.experts[0].parameters(), *model.experts[2].parameters()]:
            p.zero_()
    found, _ = judged(model)
    assert found.dead.units == [0, 2]
    assert found.twins == 0


def test_a_zero_that_the_gradient_mends_is_not_dead():
    """A linear member of an ensemble, and the last layer of an expert."""
    linear = seeded(lambda: Mixture(*(nn.Linear(WIDTH, CLASSES) for _ in range(3)), router=False))
    expert = mixture()
    with torch.no_grad():
        linear.experts[1].weight.zero_()
        expert.experts[1][2].weight.zero_()
        expert.experts[2][0].weight.zero_()
        expert.experts[2][2].weight.zero_()  # but its hidden units have a bias
    assert judged(linear)[0].dead.units == []
    assert judged(expert)[0].dead.units == []
    assert judged(expert, loss=None, batch=data()[0])[0].dead.units == []


def test_a_path_that_nothing_reads_is_silent():
    model = seeded(Paths)
    with torch.no_grad():
        model.readout.weight[:, 4:8] = 0
    how = {"loss": None, "batch": data()[0]}
    found, _ = judged(model, **how)
    assert found.dead.roads == {1: "silent"}
    assert judged(model)[0].dead.units == [], "its readers have a gradient"


# ---- healthy trainings ---------------------------------------------------------------------------

HEALTHY = [arms.vanilla(), arms.plain_decay(1e-3)]


@pytest.mark.parametrize("router", [True, False])
def test_healthy_trainings_raise_no_alarm(router):
    """20 of them: 10 of a mixture of experts, and 10 of an ensemble.

    At this learning rate a ReLU unit of an expert may be shut for good, one of 16. That alarm is
    true, and passes; see `test_alarms`.
    """
    digits = sh.data.digits()

    def make():
        experts = [network(nn.ReLU, 64, 16, 10) for _ in range(3)]
        model = Mixture(*experts, router=router)
        if router:
            model.router = nn.Linear(64, 3)
        return model

    _, params = sh.train_many(
        make, (digits.x_train, digits.y_train), HEALTHY, range(5), steps=300, loss=LOSS,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), batch_size=64, compile=False,
    )  # fmt: skip
    symmetries = sh.find_reflections(make(), digits.x_train[:2])
    assert any(one.kind == "module swap" for one in symmetries)
    for (arm, seed), state in params.items():
        model = make()
        model.load_state_dict(state)
        found, report = judged(
            model, batch=(digits.x_train, digits.y_train), found=symmetries,
            weight_decay=getattr(arm, "weight_decay", 0.0),
        )  # fmt: skip
        assert found.width == 3
        assert found.planes.nearest.distance > 0.5
        assert found.name not in report.alarms
        said = [line for lines in report.alarms.values() for line in lines]
        assert all("closed gate" in line for line in said), f"{arm.label}, seed {seed}:\n{report}"
