"""Small networks of every kind, each with the symmetries that a closed formula gives it.

The expected families were written down before the search existed. ``P5`` is the permutations of
5 units, ``S5`` their sign flips, ``R5`` the rotations O(5), ``M5`` swaps among 5 modules, and
``2xP5`` two such families. ``S1`` is one sign flip of a whole part of the network.

`idle` counts the fixed directions along which no output changes, by a formula as well: entries that
nothing reads, and combinations of entries. The formula says where they are.
"""

import collections
import itertools
import re

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from syre_helpers import models

CASES = {}


def case(expected, *inputs, **options):
    """Put a network into the table: a function without arguments that makes it.

    `idle` is the number of fixed directions along which no output changes, 0 if not given;
    `outputs` is as in `find_reflections`.
    """

    def add(make):
        name = make.__name__
        assert name not in CASES, name
        CASES[name] = (make, inputs, families(expected), options)
        return make

    return add


def families(text):
    """Read ``"P5 2xS4"`` as a Counter of kinds and sizes."""
    found = collections.Counter()
    for times, kind, size in re.findall(r"(?:(\d+)x)?([PSRM])(\d+)", text):
        found[kind, int(size)] += int(times or 1)
    return found


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def tokens(batch=3, length=5, vocabulary=7):
    # Every place of every row sees another mixture of tokens.
    generator = torch.Generator().manual_seed(8)
    return torch.randint(vocabulary, (batch, length), generator=generator)


class Function(nn.Module):
    """A network whose forward is a function of its parts and the input."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def param(*shape):
    return nn.Parameter(torch.randn(shape))


def mlp(*widths, activation=nn.ReLU, norm=None):
    layers = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Linear(a, b))
        if i < len(widths) - 2:
            layers += [norm(b)] if norm else []
            layers += [activation()]
    return nn.Sequential(*layers)


ROWS = normal(6, 4)
IMAGES = normal(3, 3, 8, 8)
SEQUENCE = normal(3, 5, 4)

# ---- layers in a row ---------------------------------------------------------------------------


@case("P5", ROWS)
def relu():
    return mlp(4, 5, 3)


@case("P5 P6", ROWS)
def gelu_deep():
    return mlp(4, 5, 6, 3, activation=nn.GELU)


@case("P5 S5 P6 S6", ROWS)
def tanh_deep():
    return mlp(4, 5, 6, 3, activation=nn.Tanh)


@case("R5", ROWS)
def linear():
    return mlp(4, 5, 3, activation=nn.Identity)


@case("R5 R6", ROWS)
def linear_deep():
    return mlp(4, 5, 6, 3, activation=nn.Identity)


@case("", ROWS)
def no_hidden_layer():
    return nn.Linear(4, 3)


@case("S1", ROWS)
def one_odd_unit():
    return mlp(4, 1, 3, activation=nn.Tanh)


@case("", ROWS)
def one_relu_unit():
    return mlp(4, 1, 3)


@case("P5", ROWS)
def exponential():
    return Function(lambda m, x: m.b(torch.exp(m.a(x))), a=nn.Linear(4, 5), b=nn.Linear(5, 3))


@case("P5 S5", ROWS)
def cosine():
    return Function(lambda m, x: m.b(torch.cos(m.a(x))), a=nn.Linear(4, 5), b=nn.Linear(5, 3))


@case("P5 S5", ROWS)
def square():
    return Function(lambda m, x: m.b(m.a(x) ** 2), a=nn.Linear(4, 5), b=nn.Linear(5, 3))


@case("P5 S5", ROWS)
def cube():
    return Function(lambda m, x: m.b(m.a(x) ** 3), a=nn.Linear(4, 5), b=nn.Linear(5, 3))


@case("P5", ROWS)
def prelu():
    return nn.Sequential(nn.Linear(4, 5), nn.PReLU(5), nn.Linear(5, 3))


@case("P5", ROWS)
def one_prelu():
    return nn.Sequential(nn.Linear(4, 5), nn.PReLU(), nn.Linear(5, 3))


@case("P6", ROWS)
def dropout():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))


@case("P5 S5", ROWS)
def batch_norm():
    return mlp(4, 5, 3, norm=nn.BatchNorm1d)


@case("P5 2xS5", ROWS)
def batch_norm_tanh():
    return mlp(4, 5, 3, norm=nn.BatchNorm1d, activation=nn.Tanh)


@case("P5", ROWS)
def batch_norm_without_gain():
    bare = lambda n: nn.BatchNorm1d(n, affine=False)  # noqa: E731
    return mlp(4, 5, 3, norm=bare)


@case("P5 S5", ROWS, idle=5)
def batch_norm_without_statistics():
    bare = lambda n: nn.BatchNorm1d(n, track_running_stats=False)  # noqa: E731
    return mlp(4, 5, 3, norm=bare)


# The sign of the whole layer: W, b and the gain.
# Idle: all rows in front of the norm moved by one vector, and one bias.
@case("P5 S1", ROWS, idle=4 + 1)
def layer_norm():
    return mlp(4, 5, 3, norm=nn.LayerNorm)


@case("P5 S5", ROWS)
def rms_norm():
    return mlp(4, 5, 3, norm=nn.RMSNorm)


@case("R5", ROWS)
def rms_norm_without_gain():
    return Function(
        lambda m, x: m.b(F.rms_norm(m.a(x), (5,))), a=nn.Linear(4, 5), b=nn.Linear(5, 3)
    )


@case("R5", ROWS)
def normalised():
    return Function(
        lambda m, x: m.b(F.normalize(m.a(x), dim=-1)), a=nn.Linear(4, 5), b=nn.Linear(5, 3)
    )


# Idle: all rows of the logits moved by one vector, and one bias; a reader's row against its bias,
# as the units' sum is one.
@case("P5", ROWS, idle=4 + 1 + 3)
def softmax_units():
    return nn.Sequential(nn.Linear(4, 5), nn.Softmax(-1), nn.Linear(5, 3))


# Two units of a GLU: the gate's rows and the value's rows move together; the value has a sign.
@case("P5 S5", ROWS)
def glu():
    return nn.Sequential(nn.Linear(4, 10), nn.GLU(), nn.Linear(5, 3))


@case("P5 S5", ROWS)
def swiglu():
    return Function(
        lambda m, x: m.down(F.silu(m.gate(x)) * m.up(x)),
        gate=nn.Linear(4, 5),
        up=nn.Linear(4, 5),
        down=nn.Linear(5, 3),
    )


# (u x)(w x) v: two independent signs for each unit, and the factors change places.
@case("P5 2xS5 M2", ROWS)
def bilinear_gate():
    return Function(
        lambda m, x: m.down(m.gate(x) * m.up(x)),
        gate=nn.Linear(4, 5),
        up=nn.Linear(4, 5),
        down=nn.Linear(5, 3),
    )


@case("P5 S5", ROWS)
def weight_norm():
    # The sign of v goes with that of g, and the row v itself has one with the reader under tanh:
    # g v / |v| is odd in v and in g. ReLU keeps one of them: (g, v).
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 5))
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(5, 3))


@case("P5 S5", ROWS)
def old_weight_norm():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = nn.utils.weight_norm(nn.Linear(4, 5))
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(5, 3))


@case("P5 5xP2", ROWS)
def maxout():
    # 5 units of 2 pieces each: units, and the two pieces of each unit.
    return Function(
        lambda m, x: m.b(m.a(x).view(-1, 5, 2).amax(-1)), a=nn.Linear(4, 10), b=nn.Linear(5, 3)
    )


@case("P5", ROWS)
def crelu():
    # relu(x), relu(-x) side by side: one unit with two readers. The sign that exchanges them is no
    # sign flip of tensors, and is not looked for.
    return Function(
        lambda m, x: m.b(F.relu(torch.cat([m.a(x), -m.a(x)], 1))),
        a=nn.Linear(4, 5),
        b=nn.Linear(10, 3),
    )


# ---- shapes and writing ------------------------------------------------------------------------


@case("P5", ROWS)
def in_place():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3))


# Idle: two biases that are added.
@case("P5 P6", ROWS, idle=5)
def added_in_place():
    def forward(m, x):
        y = m.a(x)
        y += m.c(F.relu_(m.b(x)))
        return m.d(F.relu_(y))

    return Function(
        forward, a=nn.Linear(4, 5), b=nn.Linear(4, 6), c=nn.Linear(6, 5), d=nn.Linear(5, 3)
    )


@case("P2 P3", ROWS)
def written_through_a_view():
    def forward(m, x):
        y = F.relu(m.a(x))
        y[:, :2].mul_(2)
        return m.b(y)

    return Function(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 3))


@case("P2 P3", ROWS, idle=2 * 4 + 2)
def part_assigned():
    def forward(m, x):
        y = F.relu(m.a(x))
        y[:, :2] = torch.sigmoid(m.c(x))
        return m.b(y)

    # The first two units of `a` are never used.
    return Function(forward, a=nn.Linear(4, 5), c=nn.Linear(4, 2), b=nn.Linear(5, 3))


@case("P2 P3", ROWS)
def filled_in_parts():
    def forward(m, x):
        y = x.new_zeros(len(x), 5)
        y[:, :2] = torch.sigmoid(m.a(x))
        y[:, 2:] = F.relu(m.c(x))
        return m.b(y)

    return Function(forward, a=nn.Linear(4, 2), c=nn.Linear(4, 3), b=nn.Linear(5, 3))


@case("P5", ROWS)
def checkpointed():
    return Function(
        lambda m, x: m.b(checkpoint(lambda z: F.relu(m.a(z)), x, use_reentrant=False)),
        a=nn.Linear(4, 5),
        b=nn.Linear(5, 3),
    )


@case("P6", ROWS)
def to_heads_and_back():
    return Function(
        lambda m, x: m.b(F.relu(m.a(x).view(-1, 2, 3)).reshape(-1, 6)),
        a=nn.Linear(4, 6),
        b=nn.Linear(6, 3),
    )


@case("R6", ROWS)
def linear_to_heads_and_back():
    return Function(
        lambda m, x: m.b(m.a(x).view(-1, 2, 3).flatten(1)), a=nn.Linear(4, 6), b=nn.Linear(6, 3)
    )


@case("P5 S5", ROWS)
def transposed():
    return Function(
        lambda m, x: (m.w.t() @ torch.tanh(m.v @ x.t())).t().contiguous(),
        v=param(5, 4),
        w=param(5, 3),
    )


# Idle: two biases that are added.
@case("P3 P3 S3", ROWS, idle=2)
def every_second():
    def forward(m, x):
        y = m.a(x)
        return m.b(F.relu(y[:, ::2])) + m.c(torch.tanh(y[:, 1::2]))

    return Function(forward, a=nn.Linear(4, 6), b=nn.Linear(3, 2), c=nn.Linear(3, 2))


@case("P2 P3 S3", ROWS)
def two_kinds_of_units():
    def forward(m, x):
        first, second = m.a(x).split([2, 3], dim=1)
        return m.b(torch.cat([F.relu(first), torch.tanh(second)], 1))

    return Function(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 3))


@case("P5", ROWS)
def unused_output_units():
    # Only the sum of the units is read, through a loss-like head.
    return Function(lambda m, x: F.relu(m.a(x)).sum(1), a=nn.Linear(4, 5))


@case("P5", ROWS)
def einsum():
    return Function(
        lambda m, x: torch.einsum("bk,ok->bo", F.relu(torch.einsum("bi,ki->bk", x, m.v)), m.w),
        v=param(5, 4),
        w=param(3, 5),
    )


@case("P5", ROWS)
def dict_of_layers():
    return Function(
        lambda m, x: {"y": m.layers["b"](F.relu(m.layers["a"](x)))}["y"],
        layers=nn.ModuleDict({"a": nn.Linear(4, 5), "b": nn.Linear(5, 3)}),
    )


@case("P5 P6", ROWS)
def dense_skip():
    # What was concatenated is read twice.
    def forward(m, x):
        first = F.relu(m.a(x))
        second = F.relu(m.b(torch.cat([x, first], 1)))
        return m.c(torch.cat([x, first, second], 1))

    return Function(forward, a=nn.Linear(4, 5), b=nn.Linear(9, 6), c=nn.Linear(15, 3))


@case("P5 3xP6", ROWS)
def residual_stream():
    def forward(m, x):
        x = m.a(x)
        for block in m.blocks:
            x = x + block(x)
        return m.b(F.relu(x))

    blocks = nn.ModuleList(mlp(5, 6, 5) for _ in range(3))
    return Function(forward, a=nn.Linear(4, 5), blocks=blocks, b=nn.Linear(5, 3))


@case("R5 P6", ROWS)
def linear_stream():
    return Function(
        lambda m, x: m.b((lambda y: y + m.block(y))(m.a(x))),
        a=nn.Linear(4, 5),
        block=mlp(5, 6, 5),
        b=nn.Linear(5, 3),
    )


@case("P6", ROWS)
def skip_from_the_input():
    return Function(lambda m, x: x + m.block(x), block=mlp(4, 6, 4))


@case("P5 S5 P6 S5", ROWS)
def layer_scale():
    # The stream under tanh, and (gain, writer) of the branch.
    return Function(
        lambda m, x: m.b(torch.tanh((lambda y: y + m.gain * m.block(y))(m.a(x)))),
        a=nn.Linear(4, 5),
        gain=param(5),
        block=mlp(5, 6, 5),
        b=nn.Linear(5, 3),
    )


# Idle: two biases that are added.
@case("P5 S5", ROWS, idle=3)
def shared_branches():
    return Function(
        lambda m, x: m.b(torch.tanh(m.a(x))) + m.c(torch.tanh(m.a(2 * x))),
        a=nn.Linear(4, 5),
        b=nn.Linear(5, 3),
        c=nn.Linear(5, 3),
    )


@case("P5", ROWS)
def tied_autoencoder():
    return Function(lambda m, x: F.relu(x @ m.w.t() + m.b) @ m.w, w=param(5, 4), b=param(5))


@case("R5", ROWS)
def u_ut():
    return Function(lambda m, x: x @ m.u @ m.u.t(), u=param(4, 5))


@case("P5 S5", ROWS)
def control_flow():
    def forward(m, x):
        y = torch.tanh(m.a(x))
        if float(x.sum()) > -1e9 and len(x) > 1:
            y = y * 2
        return m.b(y)

    return Function(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 3))


@case("P6", ROWS)
def unknown_operator():
    def forward(m, x):
        y = torch.linalg.qr(m.a(x)).Q
        return m.c(F.relu(m.b(y)))

    return Function(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 6), c=nn.Linear(6, 3))


@case("", ROWS)
def ordered_units():
    # Sums over all units before: their order counts.
    return Function(
        lambda m, x: m.b(torch.cumsum(F.relu(m.a(x)), 1)), a=nn.Linear(4, 5), b=nn.Linear(5, 3)
    )


@case("", ROWS)
def fixed_gains():
    scale = torch.arange(1.0, 6)
    return Function(
        lambda m, x: m.b(F.relu(m.a(x) * scale.to(x))), a=nn.Linear(4, 5), b=nn.Linear(5, 3)
    )


@case("P6", ROWS)
def frozen_layer():
    model = mlp(4, 5, 6, 3)
    model[0].requires_grad_(False)
    return model


@case("", ROWS)
def all_frozen():
    return mlp(4, 5, 3).requires_grad_(False)


@case("P5", ROWS)
def unused_layer():
    return Function(lambda m, x: m.net(x), net=mlp(4, 5, 3), spare=mlp(4, 7, 3))


@case("R2", ROWS)
def lora():
    base = nn.Linear(4, 3).requires_grad_(False)
    return Function(lambda m, x: m.base(x) + m.up(m.down(x)), base=base,
                    down=nn.Linear(4, 2, bias=False), up=nn.Linear(2, 3, bias=False))  # fmt: skip


@case("P5 S5", ROWS)
def half():
    return mlp(4, 5, 3, activation=nn.Tanh).to(torch.bfloat16)


@case("P5 S5", ROWS)
def half_inside():
    return Function(
        lambda m, x: m.b(torch.tanh(m.a(x).to(torch.float32)).to(x.dtype)),
        a=nn.Linear(4, 5),
        b=nn.Linear(5, 3),
    )


@case("P5", ROWS)
def noisy():
    return Function(
        lambda m, x: m.b((lambda y: F.relu(y + torch.randn_like(y)))(m.a(x))),
        a=nn.Linear(4, 5),
        b=nn.Linear(5, 3),
    )


@case("S4", ROWS)
def product_of_vectors():
    # A sign for each pair. The swap of u and w is one of parameters, not of modules.
    return Function(lambda m, x: x @ (m.u * m.w), u=param(4), w=param(4))


@case("S1", ROWS)
def product_of_scalars():
    return Function(lambda m, x: m.u * m.w * x.sum(), u=param(), w=param())


# ---- convolutions ------------------------------------------------------------------------------


@case("P4 S4 P6 S6", IMAGES)
def conv_bn():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


@case("P4 P6", IMAGES)
def conv_flatten():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(64, 6), nn.GELU(), nn.Linear(6, 3),
    )  # fmt: skip


@case("P4 S4", IMAGES)
def conv_transpose():
    return nn.Sequential(
        nn.Conv2d(3, 4, 2, stride=2), nn.Tanh(), nn.ConvTranspose2d(4, 2, 2, stride=2)
    )


@case("P4 P5", IMAGES)
def padded_by_hand():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ZeroPad2d(1), nn.Conv2d(4, 5, 3), nn.ReLU(),
        nn.Upsample(scale_factor=2), nn.Conv2d(5, 2, 1),
    )  # fmt: skip


# Depthwise convolution with one multiplier: the channel goes through; signs under BatchNorm in
# front of it and behind it.
@case("P5 2xS5", IMAGES)
def depthwise():
    return nn.Sequential(
        nn.Conv2d(3, 5, 1, bias=False), nn.BatchNorm2d(5), nn.ReLU(),
        nn.Conv2d(5, 5, 3, groups=5, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 1),
    )  # fmt: skip


# Two groups of three channels that read two groups of two: the groups change places, and the
# channels in each of them.
@case("P2 2xP2 2xP3", IMAGES)
def grouped():
    return nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 1, groups=2), nn.ReLU(), nn.Conv2d(6, 2, 1)
    )


# Idle: in each group one bias of all channels. Weights in front of it are told apart by places.
@case("P2 2xP3 S2", IMAGES, idle=2)
def group_norm():
    # One sign for a whole group: its channels' weights, and their gains.
    return nn.Sequential(nn.Conv2d(3, 6, 1), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 2, 1))


@case("P6 S6", IMAGES, idle=6)
def instance_norm():
    return nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.InstanceNorm2d(6, affine=True), nn.ReLU(), nn.Conv2d(6, 2, 1)
    )


@case("P3 P2", IMAGES)
def pixel_shuffle():
    # 3 channels of 4 subpixels each: the channels move as blocks, and subpixels are places.
    return nn.Sequential(
        nn.Conv2d(3, 12, 1), nn.ReLU(), nn.PixelShuffle(2), nn.Conv2d(3, 2, 3), nn.ReLU(),
        nn.Conv2d(2, 2, 1),
    )  # fmt: skip


@case("P4 P2 P6", IMAGES)
def squeeze_excite():
    def forward(m, x):
        y = F.relu(m.a(x))
        gate = torch.sigmoid(m.up(F.relu(m.down(y.mean((2, 3))))))
        return m.c(F.relu(m.b(y * gate[:, :, None, None])))

    return Function(forward, a=nn.Conv2d(3, 4, 1), down=nn.Linear(4, 2), up=nn.Linear(2, 4),
                    b=nn.Conv2d(4, 6, 1), c=nn.Conv2d(6, 2, 1))  # fmt: skip


@case("P4 P3 P2", IMAGES)
def dense_net():
    def forward(m, x):
        x = F.relu(m.a(x))
        x = torch.cat([x, F.relu(m.b(x))], 1)
        x = torch.cat([x, F.relu(m.c(x))], 1)
        return m.d(x.mean((2, 3)))

    return Function(forward, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 3, 1), c=nn.Conv2d(7, 2, 1),
                    d=nn.Linear(9, 2))  # fmt: skip


@case("2xP2", IMAGES)
def channels_padded_with_zeros():
    # A shortcut without weights: 2 channels become 4 by zeros, so that the first two are another
    # kind than the last two.
    def forward(m, x):
        y = F.relu(m.a(x))
        return m.c(F.relu(F.pad(y, (0, 0, 0, 0, 0, 2)) + m.b(y)))

    return Function(forward, a=nn.Conv2d(3, 2, 1), b=nn.Conv2d(2, 4, 1), c=nn.Conv2d(4, 2, 1))


# Idle: where a shortcut has a norm, two biases are added.
@case(" ".join(f"3xP{m} 5xS{m}" for m in (2, 4, 8, 16)), IMAGES, idle=4 + 8 + 16)
def resnet18():
    return models.resnet18(3, width=2)


@case("P4 S4 P6", normal(3, 2, 9))
def conv1d():
    return nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Conv1d(4, 6, 3), nn.ReLU(), nn.AdaptiveMaxPool1d(1),
        nn.Flatten(), nn.Linear(6, 2),
    )  # fmt: skip


# ---- attention ---------------------------------------------------------------------------------


class SelfAttention(nn.Module):
    """All ways to write it: packed or not, causal, with biases, with fewer keys than queries."""

    def __init__(self, dim, heads, *, keys=None, bias=True, packed=False, rope=False, causal=True):
        super().__init__()
        self.causal = causal
        self.heads, self.keys, self.size = heads, keys or heads, dim // heads
        self.rope, self.packed = rope, packed
        inner = self.keys * self.size
        if packed:
            self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        else:
            self.q = nn.Linear(dim, dim, bias=bias)
            self.k = nn.Linear(dim, inner, bias=bias)
            self.v = nn.Linear(dim, inner, bias=bias)
        self.o = nn.Linear(dim, dim, bias=bias)
        self.norm = None

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, -1) if self.packed else (self.q(x), self.k(x), self.v(x))
        q = q.view(batch, length, self.heads, self.size).transpose(1, 2)
        k, v = (z.view(batch, length, self.keys, self.size).transpose(1, 2) for z in (k, v))
        if self.norm is not None:
            q, k = self.norm(q), self.norm(k)
        if self.rope:
            q, k = rotary(q), rotary(k)
        if self.keys < self.heads:
            k, v = (
                z[:, :, None].expand(-1, -1, self.heads // self.keys, -1, -1).flatten(1, 2)
                for z in (k, v)
            )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.o(y.transpose(1, 2).reshape(batch, length, -1))


def rotary(x):
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * 0.3 ** torch.arange(half)
    cos, sin = (torch.cat([z, z], -1).to(x) for z in (angle.cos(), angle.sin()))
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class Block(nn.Module):
    def __init__(self, dim, heads, hidden, norm=nn.LayerNorm, gated=False, **options):
        super().__init__()
        self.norm1, self.norm2 = norm(dim), norm(dim)
        self.attention = SelfAttention(dim, heads, **options)
        self.up = nn.Linear(dim, hidden)
        self.gate = nn.Linear(dim, hidden) if gated else None
        self.down = nn.Linear(hidden, dim)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y = self.norm2(x)
        z = F.gelu(self.up(y)) if self.gate is None else F.silu(self.gate(y)) * self.up(y)
        return x + self.down(z)


class Decoder(nn.Module):
    def __init__(self, dim, blocks, norm=nn.LayerNorm, tied=True, positions=True, vocabulary=7):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.position = nn.Parameter(torch.randn(5, dim)) if positions else None
        self.blocks, self.norm = nn.Sequential(*blocks), norm(dim)
        self.head = nn.Linear(dim, vocabulary, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, x):
        x = self.embed(x)
        if self.position is not None:
            x = x + self.position
        return self.head(self.norm(self.blocks(x)))


# d = 8, L = 2, h = 2, f = 12. The last: the sign of the whole stream, with the gains.
# Idle: what is written into the stream, the same number in all of its 8 places: by the patches'
# matrix (3 x 4 x 4) and bias, 4 positions, and in each block by attention (8, and a bias) and the
# two layers (12, and a bias). Bias against positions: 8, of which that makes one already.
@case("P8 2xP2 2xP12 8xR4 5xS8 S1", IMAGES, idle=49 + 4 + 7 + 2 * (9 + 13))
def vit():
    return models.vit(n_classes=3, image=(3, 8, 8), patch=4, dim=8, depth=2, heads=2, mlp=12)


# Idle: as above, without the embedding, which the head reads as well; and the bias of the keys.
@case("P8 2xP2 2xP12 8xR4 4xS8 S1", tokens(), idle=5 + 2 * (9 + 13) + 2 * 8)
def gpt2():
    return Decoder(8, [Block(8, 2, 12, packed=True) for _ in range(2)])


# Idle: as above; with the embedding, and embedding against positions.
@case("P8 2xP2 2xP12 8xR4 5xS8 S1", tokens(), idle=7 + 5 + 7 + 2 * (9 + 13) + 2 * 8)
def gpt2_untied():
    return Decoder(8, [Block(8, 2, 12) for _ in range(2)], tied=False)


# GQA: 4 query heads on 2 key heads, dh = 4, L = 2, d = 16, f = 6.
@case("P16 2xP2 4xP2 2xP6 4xR4 4xS2 6xS16 2xS6", tokens())
def llama():
    blocks = [
        Block(16, 4, 6, norm=nn.RMSNorm, gated=True, keys=2, bias=False, rope=True)
        for _ in range(2)
    ]
    return Decoder(16, blocks, norm=nn.RMSNorm, tied=False, positions=False)


# Queries and keys are normalised with one gain for all heads: P4 reorders all of them, S4 flips the
# gain alone, and 2xS4 rows of queries and keys of one head. L = 1, tied.
@case("P8 P2 P4 2xR4 3xS8 3xS4 P12 S12", tokens())
def query_key_norm():
    block = Block(8, 2, 12, norm=nn.RMSNorm, gated=True, bias=False)
    block.attention.norm = nn.RMSNorm(4)
    return Decoder(8, [block], norm=nn.RMSNorm, tied=True, positions=False)


class PostNorm(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.attention = SelfAttention(dim, heads, causal=False)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp = mlp(dim, hidden, dim, activation=nn.GELU)

    def forward(self, x):
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))


# L = 2: each of the 2 L + 1 norms has a sign of all that it normalises.
# Idle: as in `gpt2_untied`.
@case("2xP8 2xP2 2xP12 8xR4 2xS8 5xS1", tokens(), idle=7 + 5 + 7 + 2 * (9 + 13) + 2 * 8)
def bert():
    def forward(m, x):
        x = m.norm(m.embed(x) + m.position)
        return m.head(torch.tanh(m.pooler(m.blocks(x)[:, 0])))

    return Function(
        forward,
        embed=nn.Embedding(7, 8),
        position=param(5, 8),
        norm=nn.LayerNorm(8),
        blocks=nn.Sequential(*[PostNorm(8, 2, 12) for _ in range(2)]),
        pooler=nn.Linear(8, 8),
        head=nn.Linear(8, 3),
    )


@case("P2 4xR4", normal(3, 5, 8), idle=8)
def multihead_attention():
    return Function(
        lambda m, x: m.attention(x, x, x, need_weights=False)[0],
        attention=nn.MultiheadAttention(8, 2, batch_first=True),
    )


@case("P2 4xR4", normal(3, 5, 8), idle=8)
def multihead_attention_with_weights():
    return Function(
        lambda m, x: m.attention(x, x, x, average_attn_weights=True)[0],
        attention=nn.MultiheadAttention(8, 2, batch_first=True),
    )


# Post-norm; the stream is the input and the output. S1: the sign of what stands between the norms.
# Idle: outputs of attention and of the two layers, each in front of a norm; the bias of the keys.
@case("P2 4xR4 P6 S1", normal(3, 5, 8), idle=9 + 7 + 8)
def transformer_encoder_layer():
    return nn.TransformerEncoderLayer(8, 2, 6, dropout=0.0, batch_first=True)


@case("P2 4xR4", normal(3, 5, 8))
def packed_like_timm():
    def forward(m, x):
        b, n, _ = x.shape
        q, k, v = m.qkv(x).reshape(b, n, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = torch.softmax(q @ k.transpose(-2, -1) / 2, -1) @ v
        return m.o(y.transpose(1, 2).reshape(b, n, 8))

    return Function(forward, qkv=nn.Linear(8, 24, bias=False), o=nn.Linear(8, 8))


# A learned bias for each head and distance: heads move with it.
# Idle: the same number at all distances, for each head.
@case("P2 4xR4", normal(3, 5, 8), idle=2)
def relative_positions():
    def forward(m, x):
        q, k, v = (layer(x).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (m.q, m.k, m.v))
        place = torch.arange(5)
        bias = m.table[place[:, None] - place[None, :] + 4].permute(2, 0, 1)
        y = torch.softmax(q @ k.transpose(-2, -1) / 2 + bias, -1) @ v
        return m.o(y.transpose(1, 2).flatten(2))

    part = lambda: nn.Linear(8, 8, bias=False)  # noqa: E731
    return Function(forward, q=part(), k=part(), v=part(), o=nn.Linear(8, 8), table=param(9, 2))


# One head: queries with keys, and values with outputs.
@case("2xR4", SEQUENCE)
def single_head():
    def forward(m, x):
        q, k, v = m.q(x), m.k(x), m.v(x)
        return m.o(torch.softmax(q @ k.transpose(-2, -1), -1) @ v)

    part = lambda: nn.Linear(4, 4, bias=False)  # noqa: E731
    return Function(forward, q=part(), k=part(), v=part(), o=part())


# Two towers that meet in a normalised inner product.
@case("P5 P6 R3", ROWS, normal(6, 4))
def two_towers():
    def forward(m, x, y):
        return F.normalize(m.a(x), dim=1) @ F.normalize(m.b(y), dim=1).t()

    return Function(forward, a=mlp(4, 5, 3), b=mlp(4, 6, 3))


# ---- recurrent ---------------------------------------------------------------------------------


def recurrent(cell, *sizes, **options):
    return Function(
        lambda m, x: m.b(m.a(x)[0]),
        a=cell(*sizes, batch_first=True, **options),
        b=nn.Linear(sizes[1] * (2 if options.get("bidirectional") else 1), 2),
    )


# Idle: two biases that are added, in each of four gates.
@case("P5 S5", SEQUENCE, idle=4 * 5)
def lstm():
    return recurrent(nn.LSTM, 4, 5)


@case("2xP5 2xS5", SEQUENCE, idle=2 * 4 * 5)
def lstm_two_layers():
    return recurrent(nn.LSTM, 4, 5, num_layers=2)


@case("2xP5 2xS5", SEQUENCE, idle=2 * 4 * 5)
def lstm_both_ways():
    return recurrent(nn.LSTM, 4, 5, bidirectional=True)


# Idle: likewise in two gates; the third one multiplies one of the biases first.
@case("P5 S5", SEQUENCE, idle=2 * 5)
def gru():
    return recurrent(nn.GRU, 4, 5)


@case("P5 S5", SEQUENCE, idle=5)
def rnn():
    return recurrent(nn.RNN, 4, 5)


@case("P5", SEQUENCE, idle=5)
def rnn_relu():
    return recurrent(nn.RNN, 4, 5, nonlinearity="relu")


@case("R5", SEQUENCE)
def linear_rnn():
    def forward(m, x):
        state = x.new_zeros(len(x), 5)
        for step in x.unbind(1):
            state = m.a(step) + state @ m.w
        return m.b(state)

    return Function(forward, a=nn.Linear(4, 5), w=param(5, 5), b=nn.Linear(5, 2))


@case("P5 S5", SEQUENCE, idle=4 * 5)
def lstm_cell():
    def forward(m, x):
        state = None
        for step in x.unbind(1):
            state = m.cell(step, state)
        return m.b(state[0])

    return Function(forward, cell=nn.LSTMCell(4, 5), b=nn.Linear(5, 2))


# ---- many modules ------------------------------------------------------------------------------


# Idle: three biases that are added.
@case("M3 3xP5", ROWS, idle=2 * 2)
def ensemble():
    return Function(
        lambda m, x: sum(member(x) for member in m.members) / 3,
        members=nn.ModuleList(mlp(4, 5, 2) for _ in range(3)),
    )


# Idle: all rows of the router moved by one vector, and one bias.
@case("M3 3xP5", ROWS, idle=4 + 1)
def experts_in_a_list():
    def forward(m, x):
        gates = torch.softmax(m.router(x), -1)
        return sum(gates[:, e, None] * expert(x) for e, expert in enumerate(m.experts))

    experts = nn.ModuleList(mlp(4, 5, 2) for _ in range(3))
    return Function(forward, router=nn.Linear(4, 3), experts=experts)


@case("P3 3xP5", ROWS, idle=4 + 1)
def experts_stacked():
    def forward(m, x):
        gates = torch.softmax(m.router(x), -1)
        hidden = F.relu(torch.einsum("bd,edf->ebf", x, m.up) + m.bias[:, None])
        return torch.einsum("ebf,efo,be->bo", hidden, m.down, gates)

    return Function(forward, router=nn.Linear(4, 3), up=param(3, 4, 5), bias=param(3, 5),
                    down=param(3, 5, 2))  # fmt: skip


@case("M3 3xP5", ROWS, idle=4 + 1)
def experts_top_2():
    def forward(m, x):
        gates = torch.softmax(m.router(x), -1)
        top = gates.topk(2, -1)
        kept = torch.zeros_like(gates).scatter(1, top.indices, top.values)
        return sum(kept[:, e, None] * expert(x) for e, expert in enumerate(m.experts))

    experts = nn.ModuleList(mlp(4, 5, 2) for _ in range(3))
    return Function(forward, router=nn.Linear(4, 3), experts=experts)


def stacked_experts(kept):
    """Three experts in stacked tensors, and a router; `kept` makes of the gates those in use."""

    def forward(m, x):
        gates = kept(torch.softmax(m.router(x), -1))
        hidden = F.relu(torch.einsum("bd,edf->ebf", x, m.up) + m.bias[:, None])
        return torch.einsum("ebf,efo,be->bo", hidden, m.down, gates)

    return Function(forward, router=nn.Linear(4, 3), up=param(3, 4, 5), bias=param(3, 5),
                    down=param(3, 5, 2))  # fmt: skip


def top_2(gates):
    top = gates.topk(2, -1)
    return torch.zeros_like(gates).scatter(1, top.indices, top.values)


@case("P3 3xP5", ROWS, idle=4 + 1)
def experts_stacked_top_2():
    return stacked_experts(top_2)


# The experts are told apart behind the choice: no swap.
@case("3xP5", ROWS, idle=4 + 1)
def experts_stacked_of_fixed_weights():
    return stacked_experts(lambda gates: top_2(gates) * torch.tensor([1.0, 2.0, 3.0]).to(gates))


# Experts that are chosen by the order of their numbers, whatever the router says.
@case("3xP5", ROWS, idle=4 + 1)
def experts_stacked_in_order():
    return stacked_experts(lambda gates: gates.cumsum(-1))


@case("2xP3 6xP5", ROWS, idle=2 * (4 + 1))
def experts_stacked_twice():
    # Two layers with a choice of their own each; the stream between them is the input's.
    def forward(m, x):
        return m.second(x + m.widen(m.first(x)))

    return Function(
        forward,
        first=stacked_experts(top_2),
        second=stacked_experts(top_2),
        widen=nn.Linear(2, 4).requires_grad_(False),
    )


@case("M2 2xP5 2xP3", ROWS)
def paths_side_by_side():
    # Outputs are concatenated, and read by one layer, whose columns move along.
    return Function(
        lambda m, x: m.b(F.relu(torch.cat([path(x) for path in m.paths], 1))),
        paths=nn.ModuleList(mlp(4, 5, 3) for _ in range(2)),
        b=nn.Linear(6, 2),
    )


def vae_loss(out):
    reconstruction, mu, log_variance = out
    divergence = (mu**2 + log_variance.exp() - log_variance).sum(1)
    return reconstruction, divergence


@case("P5 S5 P3 S3 P6 S6", ROWS, outputs=vae_loss)
def vae():
    def forward(m, x):
        hidden = torch.tanh(m.encoder(x))
        mu, log_variance = m.mu(hidden), m.log_variance(hidden)
        z = mu + torch.exp(log_variance / 2) * torch.randn_like(mu)
        return m.out(torch.tanh(m.decoder(z))), mu, log_variance

    return Function(
        forward,
        encoder=nn.Linear(4, 5),
        mu=nn.Linear(5, 3),
        log_variance=nn.Linear(5, 3),
        decoder=nn.Linear(3, 6),
        out=nn.Linear(6, 4),
    )


# Idle: all rows of the table against the bias.
@case("P6", ROWS, idle=6)
def mixed_dtypes():
    # An index from the input chooses an embedding.
    def forward(m, x):
        kind = (x[:, 0] > 0).long()
        return m.b(F.relu(m.a(x) + m.table(kind)))

    return Function(forward, a=nn.Linear(4, 6), table=nn.Embedding(2, 6), b=nn.Linear(6, 3))


# Token mixing: hidden units over the places, and hidden units over the channels. S1, which was
# missed when this table was written: no activation stands between the two networks.
@case("P6 P7 S1", SEQUENCE)
def mixer():
    return Function(
        lambda m, x: m.channels(m.tokens(x.transpose(1, 2)).transpose(1, 2)),
        tokens=mlp(5, 6, 5),
        channels=mlp(4, 7, 4),
    )


# ---- directions along which nothing changes ----------------------------------------------------


@case("P5", SEQUENCE)
def rnn_without_bias():
    return recurrent(nn.RNN, 4, 5, bias=False, nonlinearity="relu")


# Fixed numbers tell the units apart, and a bias has no partner.
@case("", SEQUENCE)
def rnn_with_a_frozen_bias():
    model = recurrent(nn.RNN, 4, 5, nonlinearity="relu")
    model.a.bias_hh_l0.requires_grad_(False)
    return model


# Probabilities: all rows of the last layer moved by one vector, and one bias.
@case("P5", ROWS, idle=5 + 1)
def probabilities():
    return nn.Sequential(mlp(4, 5, 3), nn.Softmax(-1))


@case("P5", ROWS, outputs=lambda logits: F.log_softmax(logits, -1), idle=5 + 1)
def logits_in_a_loss():
    return mlp(4, 5, 3)


# Two writers into a stream that only norms read.
@case("P5 P6 2xS5 S1", ROWS, idle=4 + 1 + 6 + 1)
def pre_norm_stream():
    def forward(m, x):
        x = m.a(x)
        return m.b(m.last(x + m.block(m.first(x))))

    return Function(forward, a=nn.Linear(4, 5), first=nn.LayerNorm(5), block=mlp(5, 6, 5),
                    last=nn.LayerNorm(5), b=nn.Linear(5, 3))  # fmt: skip


# The block reads the stream before it is normalised: only what the block writes is idle.
@case("P5 P6 S5", ROWS, idle=6 + 1)
def post_norm_stream():
    return Function(
        lambda m, x: m.b(m.norm((lambda y: y + m.block(y))(F.relu(m.a(x))))),
        a=nn.Linear(4, 5),
        block=mlp(5, 6, 5),
        norm=nn.LayerNorm(5),
        b=nn.Linear(5, 3),
    )


# As above with norms that subtract no mean.
@case("P5 P6 2xS5", ROWS)
def root_mean_square_stream():
    def forward(m, x):
        x = m.a(x)
        return m.b(m.last(x + m.block(x)))

    return Function(forward, a=nn.Linear(4, 5), block=mlp(5, 6, 5), last=nn.RMSNorm(5),
                    b=nn.Linear(5, 3))  # fmt: skip


# A norm over channels and places: of the weights' effects only the bias is the same everywhere.
@case("P4 S1", IMAGES, idle=1)
def norm_over_channels_and_places():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm([4, 8, 8]), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))  # fmt: skip


@case("M2", ROWS, idle=3 * 4 + 3)
def two_linear_maps():
    return Function(lambda m, x: m.a(x) + m.b(x), a=nn.Linear(4, 3), b=nn.Linear(4, 3))


# One of the two is written the other way round, and counts twice.
@case("", ROWS, idle=3 * 4)
def two_linear_maps_transposed():
    return Function(lambda m, x: m.a(x) + 2 * (x @ m.w), a=nn.Linear(4, 3), w=param(4, 3))


@case("M2", IMAGES, idle=2 * 3 * 9 + 2)
def two_convolutions():
    return Function(lambda m, x: torch.tanh(m.a(x) + m.b(x)), a=nn.Conv2d(3, 2, 3),
                    b=nn.Conv2d(3, 2, 3))  # fmt: skip


@case("P5", ROWS, idle=2 * 5)
def three_biases():
    return Function(
        lambda m, x: m.b(F.relu(m.a(x) + m.more_bias - m.less_bias)),
        a=nn.Linear(4, 5),
        more_bias=param(5),
        less_bias=param(5),
        b=nn.Linear(5, 3),
    )


@case("P5", ROWS, idle=3)
def shared_weight():
    def forward(m, x):
        hidden = F.relu(m.hidden(x))
        return m.a(hidden) + m.b(hidden**2)

    model = Function(forward, hidden=nn.Linear(4, 5), a=nn.Linear(5, 3), b=nn.Linear(5, 3))
    model.b.weight = model.a.weight
    return model


# One layer used twice has no partner.
@case("", ROWS)
def used_twice():
    return Function(lambda m, x: torch.tanh(m.a(x)) + m.a(2 * x), a=nn.Linear(4, 3))


# Embedding against positions, without a norm.
@case("P6", tokens(), idle=6)
def tokens_and_positions():
    return Function(
        lambda m, x: m.b(F.relu(m.embed(x) + m.position)),
        embed=nn.Embedding(7, 6),
        position=param(5, 6),
        b=nn.Linear(6, 3),
    )


@case("P6 M2", tokens(), idle=7 * 6)
def two_embeddings():
    return Function(
        lambda m, x: m.b(F.relu(m.one(x) + m.two(x))),
        one=nn.Embedding(7, 6),
        two=nn.Embedding(7, 6),
        b=nn.Linear(6, 3),
    )


# Only the mean over the first axis is used: what sums to zero along it is idle, and for each of the
# 4 x 5 entries of the mean its three terms change places.
@case("P5 20xP3", ROWS, idle=2 * 4 * 5)
def mean_of_matrices():
    return Function(lambda m, x: m.b(F.relu(x @ m.w.mean(0))), w=param(3, 4, 5),
                    b=nn.Linear(5, 2))  # fmt: skip


# Rows and columns: the distance of two scores, each of an input whose entries sum to zero.
@case("", ROWS, idle=4 + 3 - 1)
def both_axes():
    def forward(m, x):
        return torch.softmax((x - x.mean(-1, keepdim=True)) @ m.w, -1)

    return Function(forward, w=param(4, 3))


# Class token: its own place, against the bias of the patches and the places of the others.
@case("P6", SEQUENCE, idle=6 + 6)
def class_token():
    def forward(m, x):
        y = torch.cat([m.token.expand(len(x), 1, 6), m.a(x)], 1) + m.position
        return m.b(F.relu(y))

    return Function(forward, a=nn.Linear(4, 6), token=param(1, 1, 6), position=param(6, 6),
                    b=nn.Linear(6, 3))  # fmt: skip


# A number against the layer that it multiplies: along a curve nothing changes, along no line.
@case("P5 S1", ROWS)
def scaled_by_a_number():
    return Function(lambda m, x: m.b(F.relu(m.scale * m.a(x))), a=nn.Linear(4, 5), scale=param(),
                    b=nn.Linear(5, 3))  # fmt: skip


@case("", ROWS, idle=1)
def two_numbers():
    return Function(lambda m, x: (x + m.a + m.b).square(), a=param(), b=param())
