"""Networks as people write them, in the style of the zoo: the formula was written down first.

``hidden`` names families of the formula that the search does not find, and ``left`` the operators
that it has to name then. Sign flips are compared by their number, since flips of two groups of
three units are also those of six.
"""

import collections
import dataclasses
import types
import warnings

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from .zoo import (
    IMAGES,
    ROWS,
    SEQUENCE,
    Block,
    Function,
    families,
    mlp,
    normal,
    param,
    tokens,
)  # fmt: skip

CASES = {}


def case(expected, *inputs, hidden="", left=(), **options):
    """Put a network into the table: a function without arguments that makes it."""

    def add(make):
        assert make.__name__ not in CASES, make.__name__
        CASES[make.__name__] = make, inputs, families(expected), families(hidden), left, options
        return make

    return add


def linear(n, m):
    return nn.Linear(n, m, bias=False)


STREAM = normal(3, 5, 8)

# ---- images ------------------------------------------------------------------------------------


def conv_bn_relu(n, m, size=3, **options):
    return nn.Sequential(
        nn.Conv2d(n, m, size, padding=size // 2, bias=False, **options), nn.BatchNorm2d(m),
        nn.ReLU(),
    )  # fmt: skip


# What the transposed convolution makes is read by a convolution: linear after linear.
@case("P4 S4 P6 S6 R4 P5 S5", IMAGES)
def u_net():
    def forward(m, x):
        skip = m.encoder(x)
        deep = m.deep(F.max_pool2d(skip, 2))
        return m.out(m.decoder(torch.cat([m.up(deep), skip], 1)))

    return Function(
        forward,
        encoder=conv_bn_relu(3, 4),
        deep=conv_bn_relu(4, 6),
        up=nn.ConvTranspose2d(6, 4, 2, stride=2),
        decoder=conv_bn_relu(8, 5),
        out=nn.Conv2d(5, 2, 1),
    )


# Signs of units: (norm, first layer), (second layer, layer scale), (last norm, head). Signs of
# wholes: of what the stem makes, of the stream, of what the depthwise convolution makes.
@case("P4 P6 3xS4 3xS1", IMAGES)
def convnext():
    def forward(m, x):
        x = m.stem_norm(m.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y = m.norm(m.depthwise(x).permute(0, 2, 3, 1))
        y = m.scale * m.second(F.gelu(m.first(y)))
        x = x + y.permute(0, 3, 1, 2)
        return m.head(m.last(x.mean((-2, -1))))

    return Function(
        forward,
        stem=nn.Conv2d(3, 4, 2, stride=2),
        stem_norm=nn.LayerNorm(4),
        depthwise=nn.Conv2d(4, 4, 7, padding=3, groups=4),
        norm=nn.LayerNorm(4),
        first=nn.Linear(4, 6),
        second=nn.Linear(6, 4),
        scale=nn.Parameter(1e-6 * torch.ones(4)),
        last=nn.LayerNorm(4),
        head=nn.Linear(4, 3),
    )


@case("P4 P5 R6", IMAGES)
def feature_pyramid():
    def forward(m, x):
        fine = F.relu(m.fine(x))
        coarse = F.relu(m.coarse(fine))
        up = F.interpolate(m.side_coarse(coarse), scale_factor=2, mode="bilinear")
        return m.out(m.side_fine(fine) + up), m.out(m.side_coarse(coarse))

    return Function(
        forward,
        fine=nn.Conv2d(3, 4, 3, padding=1),
        coarse=nn.Conv2d(4, 5, 3, padding=1, stride=2),
        side_fine=nn.Conv2d(4, 6, 1),
        side_coarse=nn.Conv2d(5, 6, 1),
        out=nn.Conv2d(6, 2, 3, padding=1),
    )


@case("P2 2xP2 2xP3 S4 S6", IMAGES)
def resnext():
    return nn.Sequential(conv_bn_relu(3, 4, 1), conv_bn_relu(4, 6, 3, groups=2), nn.Conv2d(6, 2, 1))


# The channel's number in its group becomes the number of the next group.
@case("4xP2 2xP3", IMAGES)
def shuffle_net():
    def forward(m, x):
        y = F.relu(m.b(F.relu(m.a(x))))
        n, _, height, width = y.shape
        y = y.view(n, 2, 2, height, width).transpose(1, 2).reshape(n, 4, height, width)
        return m.d(F.relu(m.c(y)))

    return Function(forward, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 4, 1, groups=2),
                    c=nn.Conv2d(4, 6, 1, groups=2), d=nn.Conv2d(6, 2, 1))  # fmt: skip


# The style's gain has the sign of the convolution in front of the norm.
@case("P6 S6", IMAGES, ROWS[:3])
def adaptive_instance_norm():
    def forward(m, x, style):
        gain, bias = (one[:, :, None, None] for one in m.style(style).chunk(2, 1))
        return m.b(F.relu(gain * F.instance_norm(m.a(x)) + bias))

    return Function(forward, a=nn.Conv2d(3, 6, 3), style=nn.Linear(4, 12), b=nn.Conv2d(6, 2, 1))


@case("P4", IMAGES)
def standardised_weights():
    def forward(m, x):
        w = m.w - m.w.mean((1, 2, 3), keepdim=True)
        return m.b(F.relu(F.conv2d(x, w / (w.std((1, 2, 3), keepdim=True) + 1e-5), m.bias)))

    return Function(forward, w=param(4, 3, 3, 3), bias=param(4), b=nn.Conv2d(4, 2, 1))


@case("P4 S4", normal(2, 3, 3, 4, 4))
def conv_lstm():
    def forward(m, x):
        h = c = x.new_zeros(2, 4, 4, 4)
        for step in x.unbind(1):
            i, f, o, g = m.gates(torch.cat([step, h], 1)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return m.out(h)

    return Function(forward, gates=nn.Conv2d(7, 16, 3, padding=1), out=nn.Conv2d(4, 2, 1))


@case("R4 2xP5 2xS5 P6", normal(3, 2, 9))
def wavenet():
    def forward(m, x):
        x, skips = m.stem(x), 0
        for i in range(2):
            padded = F.pad(x, (1, 0))
            z = torch.tanh(m.filters[i](padded)) * torch.sigmoid(m.gates[i](padded))
            skips = skips + m.skips[i](z)
            x = x + m.back(z) if i == 0 else x
        return m.out(F.relu(skips))

    layers = lambda n, m, size: nn.ModuleList(nn.Conv1d(n, m, size) for _ in range(2))  # noqa: E731
    return Function(
        forward, stem=nn.Conv1d(2, 4, 1), filters=layers(4, 5, 2), gates=layers(4, 5, 2),
        skips=layers(5, 6, 1), back=nn.Conv1d(5, 4, 1), out=nn.Conv1d(6, 2, 1),
    )  # fmt: skip


# ---- attention ---------------------------------------------------------------------------------


class Attention(nn.Module):
    """Two heads of four; what differs is given as functions of scores, queries and keys."""

    def __init__(self, scores=lambda s: s, turned=lambda q: q, weights=None, bias=False):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8, bias=bias) for _ in range(3))
        self.o = nn.Linear(8, 8)
        self.scores, self.turned = scores, turned
        self.weights = weights or (lambda s: torch.softmax(s, -1))

    def forward(self, x):
        q, k, v = (
            layer(x).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        y = self.weights(self.scores(self.turned(q) @ self.turned(k).transpose(-2, -1) / 2)) @ v
        return self.o(y.transpose(1, 2).flatten(2))


@case("P2 4xR4", normal(2, 4, 4, 8))
def swin_window():
    def windows(x):
        return x.view(-1, 2, 2, 2, 2, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 8)

    def forward(m, x):
        y = windows(torch.roll(x, (-1, -1), (1, 2)))
        q, k, v = m.qkv(y).reshape(-1, 4, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        bias = m.table[m.places.view(-1)].view(4, 4, 2).permute(2, 0, 1)
        y = (q / 2 @ k.transpose(-2, -1) + bias).softmax(-1) @ v
        y = m.o(y.transpose(1, 2).reshape(-1, 4, 8))
        y = y.view(2, 2, 2, 2, 2, 8).permute(0, 1, 3, 2, 4, 5).reshape(2, 4, 4, 8)
        return x + torch.roll(y, (1, 1), (1, 2))

    model = Function(forward, qkv=linear(8, 24), o=nn.Linear(8, 8), table=param(9, 2))
    place = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")).flatten(1)
    apart = place[:, :, None] - place[:, None] + 1
    model.register_buffer("places", apart[0] * 3 + apart[1])
    return model


# Three latents that a mean reads, their eight channels, and the sign of the whole stream.
@case("P3 P8 P2 4xR4 P6 S8 S1", SEQUENCE)
def perceiver():
    def forward(m, x):
        latents = m.latents.expand(len(x), -1, -1)
        q = m.q(latents).unflatten(-1, (2, 4)).transpose(1, 2)
        k, v = (one(x).unflatten(-1, (2, 4)).transpose(1, 2) for one in (m.k, m.v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        latents = latents + m.o(y)
        return m.head((latents + m.mlp(m.norm(latents))).mean(1))

    return Function(
        forward, latents=param(1, 3, 8), q=nn.Linear(8, 8), k=nn.Linear(4, 8), v=nn.Linear(4, 8),
        o=nn.Linear(8, 8), norm=nn.LayerNorm(8), mlp=mlp(8, 6, 8, activation=nn.GELU),
        head=nn.Linear(8, 3),
    )  # fmt: skip


# Tied head: the stream's signs, and those of two gains with what reads them.
@case("P8 P2 4xR4 P12 3xS8", tokens())
def t5():
    class T5Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(8))

        def forward(self, x):
            variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
            return self.weight * (x * torch.rsqrt(variance + 1e-6)).to(self.weight.dtype)

    def forward(m, ids):
        x = m.embed(ids)
        place = torch.arange(ids.shape[1])
        bias = m.table((place[None] - place[:, None]).clamp(-4, 4) + 4).permute(2, 0, 1)[None]
        y = m.norm1(x)
        q, k, v = (one(y).view(*ids.shape, 2, 4).transpose(1, 2) for one in (m.q, m.k, m.v))
        scores = torch.matmul(q, k.transpose(3, 2)) + bias
        y = torch.matmul(F.softmax(scores.float(), -1).type_as(scores), v)
        x = x + m.o(y.transpose(1, 2).contiguous().view(*ids.shape, 8))
        x = x + m.wo(F.relu(m.wi(m.norm2(x))))
        return F.linear(m.last(x) * 8**-0.5, m.embed.weight)

    return Function(
        forward, embed=nn.Embedding(7, 8), table=nn.Embedding(9, 2), norm1=T5Norm(), q=linear(8, 8),
        k=linear(8, 8), v=linear(8, 8), o=linear(8, 8), norm2=T5Norm(), wi=linear(8, 12),
        wo=linear(12, 8), last=T5Norm(),
    )  # fmt: skip


# Heads have slopes of their own: they are told apart.
@case("4xR4", STREAM)
def alibi():
    def scores(s):
        place = torch.arange(s.shape[-1])
        slopes = torch.tensor([0.5, 0.25])[:, None, None]
        return s - slopes * (place[:, None] - place).abs()

    return Attention(scores)


@case("P2 4xR4", STREAM)
def capped_scores():
    return Attention(lambda s: 50 * torch.tanh(s / 50))


@case("P2 4xR4", STREAM)
def sliding_window_mask():
    def scores(s):
        place = torch.arange(s.shape[-1])
        seen = (place[None] <= place[:, None]) & (place[None] > place[:, None] - 3)
        return s.masked_fill(~seen, float("-inf"))

    return Attention(scores)


# Pairs (2i, 2i + 1) turn: the sign of each pair is left of queries and keys.
@case("P2 2xR4 2xS2", STREAM)
def rotary_interleaved():
    def turned(q):
        angle = torch.arange(q.shape[-2])[:, None] * 0.3 ** torch.arange(2)
        even, odd = q[..., ::2], q[..., 1::2]
        cos, sin = angle.cos(), angle.sin()
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)

    return Attention(turned=turned)


@case("P2 2xR4 2xS2", STREAM)
def rotary_complex():
    def turned(q):
        angle = torch.arange(q.shape[-2])[:, None] * 0.3 ** torch.arange(2)
        phase = torch.polar(torch.ones_like(angle), angle)
        z = torch.view_as_complex(q.unflatten(-1, (2, 2)).contiguous())
        return torch.view_as_real(z * phase).flatten(-2)

    return Attention(turned=turned)


# One pair turns, and two dimensions do not.
@case("P2 2xR4 2xR2 2xS1", STREAM)
def rotary_on_half():
    def turned(q):
        angle = torch.arange(q.shape[-2])[:, None] * 0.3
        first, second, rest = q.split([1, 1, 2], -1)
        cos, sin = angle.cos(), angle.sin()
        return torch.cat([first * cos - second * sin, first * sin + second * cos, rest], -1)

    return Attention(turned=turned)


@case("P2 2xP2 4xR4", normal(2, 5, 16))
def grouped_queries_by_flag():
    def forward(m, x):
        q = m.q(x).view(2, 5, 4, 4).transpose(1, 2)
        k, v = (one(x).view(2, 5, 2, 4).transpose(1, 2) for one in (m.k, m.v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return m.o(y.transpose(1, 2).reshape(2, 5, 16))

    return Function(forward, q=linear(16, 16), k=linear(16, 8), v=linear(16, 8), o=linear(16, 16))


@case("P2 4xR4", STREAM)
def attention_by_einsum():
    def forward(m, x):
        q, k, v = (torch.einsum("bld,dhk->blhk", x, w) for w in (m.q, m.k, m.v))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k)
        y = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v)
        return torch.einsum("bqhd,hdo->bqo", y, m.o)

    return Function(forward, q=param(8, 2, 4), k=param(8, 2, 4), v=param(8, 2, 4), o=param(2, 4, 8))


@case("P2 2xP4 2xR4", STREAM)
def linear_attention():
    def forward(m, x):
        q, k, v = (one(x).unflatten(-1, (2, 4)).transpose(1, 2) for one in (m.q, m.k, m.v))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        size = 1 / torch.einsum("bhld,bhd->bhl", q, k.sum(2))
        y = torch.einsum("bhld,bhde,bhl->bhle", q, torch.einsum("bhld,bhle->bhde", k, v), size)
        return m.o(y.transpose(1, 2).flatten(2))

    return Function(forward, q=linear(8, 8), k=linear(8, 8), v=linear(8, 8), o=linear(8, 8))


# Without a softmax, the sign of queries and values together is one more.
@case("2xR4 S1", SEQUENCE)
def retention():
    def forward(m, x):
        place = torch.arange(x.shape[1])
        apart = place[:, None] - place
        decay = torch.where(apart >= 0, 0.9 ** apart.clamp(min=0).to(x.dtype), 0.0)
        return m.o((m.q(x) @ m.k(x).transpose(1, 2) * decay) @ m.v(x))

    return Function(forward, q=linear(4, 4), k=linear(4, 4), v=linear(4, 4), o=linear(4, 4))


# Keys and values from a latent of three.
@case("P2 4xR4 R3", STREAM)
def latent_attention():
    def forward(m, x):
        c = m.down(x)
        q, k, v = (
            one(z).unflatten(-1, (2, 4)).transpose(1, 2)
            for one, z in ((m.q, x), (m.k, c), (m.v, c))
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return m.o(y.transpose(1, 2).flatten(2))

    return Function(forward, down=linear(8, 3), q=linear(8, 8), k=linear(3, 8), v=linear(3, 8),
                    o=linear(8, 8))  # fmt: skip


@case("P2 4xR4", STREAM, normal(3, 6, 4), normal(3, 6, 5))
def multihead_of_other_sizes():
    attention = nn.MultiheadAttention(
        8, 2, kdim=4, vdim=5, add_bias_kv=True, add_zero_attn=True, batch_first=True
    )
    return Function(lambda m, q, k, v: m.attention(q, k, v)[0], attention=attention)


@case(
    "P2 4xR4", STREAM, torch.tensor([[False] * 5, [False] * 4 + [True], [False] * 3 + [True] * 2])
)
def multihead_with_masks():
    def forward(m, x, padding):
        causal = nn.Transformer.generate_square_subsequent_mask(5, dtype=x.dtype)
        return m.attention(x, x, x, key_padding_mask=padding, attn_mask=causal.isinf())[0]

    return Function(forward, attention=nn.MultiheadAttention(8, 2, batch_first=True))


# Signs of wholes between two norms: two in the encoder, three in the decoder; of the encoder's
# outputs by unit, since only keys and values read them.
# They are columns of the keys' and values' rows in one packed weight, and of no whole tensor: such
# signs are not looked for.
@case("3xP2 12xR4 2xP6 S8 5xS1", STREAM, normal(3, 4, 8), hidden="S8")
def transformer_of_torch():
    return nn.Transformer(8, 2, 1, 1, 6, dropout=0.1, batch_first=True)


# Table entries times numbers, as tokens.
@case("P8 P2 P12 4xR4 2xS8 S1", ROWS)
def tabular_transformer():
    def forward(m, x):
        x = m.block(x[..., None] * m.weight + m.bias)
        return m.head(F.relu(m.norm(x)).mean(1))

    return Function(
        forward, weight=param(4, 8), bias=param(4, 8), block=Block(8, 2, 12, causal=False),
        norm=nn.LayerNorm(8), head=nn.Linear(8, 2),
    )  # fmt: skip


# ---- sequences ---------------------------------------------------------------------------------


# Tokens are mixed by channel, so that the first norm's gain has no sign by unit. The second S1 was
# missed when this table was written: of all that the first norm makes, with what reads it.
@case("P6 P7 P8 S6 2xS1", SEQUENCE)
def mlp_mixer():
    def forward(m, x):
        x = m.embed(x)
        x = x + m.tokens(m.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + m.channels(m.norm2(x))
        return m.head(x.mean(1))

    return Function(
        forward, embed=nn.Linear(4, 6), norm1=nn.LayerNorm(6), norm2=nn.LayerNorm(6),
        tokens=mlp(5, 7, 5, activation=nn.GELU), channels=mlp(6, 8, 6, activation=nn.GELU),
        head=nn.Linear(6, 2),
    )  # fmt: skip


# By channel and state a sign of b with c; by channel signs of input with output, and of c, d with
# the output.
@case("P6 6xP2 2xS6 6xS2", SEQUENCE)
def diagonal_state_space():
    def forward(m, x):
        u, h, ys = m.inner(x), 0, []
        for t in range(x.shape[1]):
            h = torch.exp(-torch.exp(m.a)) * h + m.b * u[:, t, :, None]
            ys.append((h * m.c).sum(-1) + m.d * u[:, t])
        return m.out(torch.stack(ys, 1) * F.silu(m.gate(x)))

    return Function(
        forward, inner=nn.Linear(4, 6), gate=nn.Linear(4, 6), a=param(6, 2), b=param(6, 2),
        c=param(6, 2), d=param(6), out=nn.Linear(6, 3),
    )  # fmt: skip


# Two states shared by six channels; S1: c, d and the output.
@case("P6 P2 S2 S1", SEQUENCE)
def mamba():
    def forward(m, x):
        u = F.silu(m.inner(x))
        step, b, c = F.softplus(m.step(u)), m.b(u), m.c(u)
        h, ys = 0, []
        for t in range(x.shape[1]):
            keep = torch.exp(-step[:, t, :, None] * torch.exp(m.a))
            h = keep * h + step[:, t, :, None] * b[:, t, None] * u[:, t, :, None]
            ys.append((h @ c[:, t, :, None]).squeeze(-1) + m.d * u[:, t])
        return m.out(torch.stack(ys, 1) * F.silu(m.gate(x)))

    return Function(
        forward, inner=nn.Linear(4, 6), gate=nn.Linear(4, 6), step=nn.Linear(6, 6), b=linear(6, 2),
        c=linear(6, 2), a=param(6, 2), d=param(6), out=linear(6, 3),
    )  # fmt: skip


# A scan without a loop. Three signs: input, b, c.
@case("P6 3xS6", SEQUENCE)
def scan_by_cumulated_sums():
    def forward(m, x):
        decay = torch.cumsum(F.logsigmoid(m.a).expand(x.shape[1], 6), 0)
        h = torch.cumsum(m.b * m.inner(x) / decay.exp(), 1) * decay.exp()
        return m.out((m.c * h) * F.silu(m.gate(x)))

    return Function(
        forward, inner=linear(4, 6), gate=nn.Linear(4, 6), a=param(6), b=param(6), c=param(6),
        out=nn.Linear(6, 3),
    )  # fmt: skip


@case("P5 S5", SEQUENCE)
def gru_by_hand():
    def forward(m, x):
        h = torch.zeros(len(x), 5)
        for t in range(x.size(1)):
            r, z = torch.sigmoid(m.gates(torch.cat((x[:, t], h), 1))).chunk(2, 1)
            n = torch.tanh(m.new(torch.cat((x[:, t], r * h), 1)))
            h = (1 - z) * n + z * h
        return m.out(h)

    return Function(forward, gates=nn.Linear(9, 10), new=nn.Linear(9, 5), out=nn.Linear(5, 2))


@case("4xP5 4xS5 4xR3", SEQUENCE)
def lstm_with_projections():
    lstm = nn.LSTM(4, 5, 2, bidirectional=True, proj_size=3, batch_first=True)
    return Function(lambda m, x: m.b(m.a(x)[0]), a=lstm, b=nn.Linear(6, 2))


# What unpacks it writes through views of views, which is not followed.
@case("P5 S5", SEQUENCE, torch.tensor([5, 3, 2]), hidden="P5 S5", left=["view"])
def lstm_of_packed_rows():
    def forward(m, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
        return m.b(nn.utils.rnn.pad_packed_sequence(m.a(packed)[0], True)[0])

    return Function(forward, a=nn.LSTM(4, 5, batch_first=True), b=nn.Linear(5, 2))


@case("R5", torch.tensor([1, 2, 4, 5, 4, 3, 2, 0]), torch.tensor([0, 3, 5]))
def bag_of_words():
    return Function(
        lambda m, ids, starts: m.b(m.table(ids, starts)),
        table=nn.EmbeddingBag(7, 5, mode="mean", padding_idx=0),
        b=nn.Linear(5, 3),
    )


# ---- sets, graphs, tables ----------------------------------------------------------------------

EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [1, 2, 3, 4, 5, 0, 3, 5]])


# What the sum over a set reads is linear after linear.
@case("P5 R6 P7", SEQUENCE)
def deep_sets():
    return Function(lambda m, x: m.rho(m.phi(x).sum(1)), phi=mlp(4, 5, 6), rho=mlp(6, 7, 2))


@case("P5 S5 P6 S6", SEQUENCE)
def point_net():
    norm = nn.BatchNorm1d
    phi = nn.Sequential(
        nn.Conv1d(4, 5, 1), norm(5), nn.ReLU(), nn.Conv1d(5, 6, 1), norm(6), nn.ReLU()
    )
    return Function(lambda m, x: m.b(m.phi(x.mT).max(-1).values), phi=phi, b=nn.Linear(6, 2))


@case("P5 P6 S6", ROWS, EDGES)
def graph_convolution():
    def gathered(x, edges):
        return torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])

    def forward(m, x, edges):
        x = F.relu(gathered(m.a(x), edges))
        return m.c(torch.tanh(gathered(m.b(x), edges)))

    return Function(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 6), c=nn.Linear(6, 2))


@case("P5 P6 P6 S6", ROWS, EDGES)
def graph_attention():
    def forward(m, x, edges):
        source, target = edges
        h = m.a(x)
        weight = F.leaky_relu(m.left(h)[source] + m.right(h)[target]).exp()
        total = weight.new_zeros(6, 1).scatter_add_(0, target[:, None], weight)
        weight = weight / total[target]
        y = h.new_zeros(6, 5).scatter_add_(0, target[:, None].expand(-1, 5), weight * h[source])
        return m.c(F.elu(y))

    # h: read by attention and by an ELU; two hidden layers of a head behind it.
    head = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    return Function(forward, a=linear(4, 5), left=linear(5, 1), right=linear(5, 1), c=head)


@case("P5", ROWS, torch.eye(6)[[1, 2, 3, 4, 5, 0]].to_sparse())
def sparse_adjacency():
    return Function(
        lambda m, x, a: m.b(F.relu(torch.sparse.mm(a, m.a(x)))),
        a=nn.Linear(4, 5),
        b=nn.Linear(5, 2),
    )


@case("P5 P6 P7 P8", ROWS, normal(6, 3))
def equivariant_graph():
    def forward(m, h, place):
        apart = place[:, None] - place[None]
        ends = [h[:, None].expand(6, 6, 4), h[None].expand(6, 6, 4)]
        message = F.silu(m.edge(torch.cat([*ends, apart.square().sum(-1, keepdim=True)], -1)))
        place = place + (apart * m.move(message)).mean(1)
        return m.node(torch.cat([h, message.sum(1)], -1)), place

    silu = nn.SiLU
    return Function(
        forward, edge=mlp(9, 5, 6, activation=silu), move=mlp(6, 7, 1, activation=silu),
        node=mlp(10, 8, 2, activation=silu),
    )  # fmt: skip


PAIRS = tokens(1, 6)[0], tokens(1, 6)[0].flip(0)


@case("R3", *PAIRS)
def matrix_factorisation():
    return Function(
        lambda m, u, v: (m.user(u) * m.item(v)).sum(-1) + m.bias(v).squeeze(-1),
        user=nn.Embedding(7, 3), item=nn.Embedding(7, 3), bias=nn.Embedding(7, 1),
    )  # fmt: skip


@case("P3 2xS3", *PAIRS)
def weighted_factorisation():
    return Function(
        lambda m, u, v: m.b(m.user(u) * m.item(v)),
        user=nn.Embedding(7, 3), item=nn.Embedding(7, 3), b=nn.Linear(3, 1),
    )  # fmt: skip


@case("R3", *PAIRS)
def translated_entities():
    return Function(
        lambda m, u, v: -(m.entity(u) + m.relation.weight[1] - m.entity(v)).norm(dim=-1),
        entity=nn.Embedding(7, 3), relation=nn.Embedding(2, 3),
    )  # fmt: skip


@case("P3 S3", *PAIRS)
def diagonal_relations():
    return Function(
        lambda m, u, v: (m.entity(u) * m.relation(u % 2) * m.entity(v)).sum(-1),
        entity=nn.Embedding(7, 3), relation=nn.Embedding(2, 3),
    )  # fmt: skip


# Embeddings and a tower meet in inner products, and the tower's output is read once more.
@case("P5 R3 P6", ROWS, *PAIRS)
def recommendation():
    def forward(m, x, first, second):
        bottom = m.bottom(x)
        every = torch.stack([bottom, m.one(first), m.two(second)], 1)
        products = torch.bmm(every, every.transpose(1, 2))
        i, j = torch.tril_indices(3, 3, -1)
        return m.top(torch.cat([bottom, products[:, i, j]], 1))

    return Function(
        forward, bottom=mlp(4, 5, 3), one=nn.Embedding(7, 3), two=nn.Embedding(7, 3),
        top=mlp(6, 6, 1),
    )  # fmt: skip


@case("P5 P6 S6", SEQUENCE)
def pooled_by_attention():
    def forward(m, x):
        h = F.relu(m.a(x))
        weight = torch.softmax(m.w(torch.tanh(m.v(h))), 1)
        return m.b((weight * h).sum(1))

    return Function(
        forward, a=nn.Linear(4, 5), v=nn.Linear(5, 6), w=nn.Linear(6, 1), b=nn.Linear(5, 2)
    )


# The order is that of places, for each channel.
@case("P6", SEQUENCE)
def pooled_by_order():
    return Function(
        lambda m, x: m.b(m.a(x).sort(1).values.flatten(1)), a=nn.Linear(4, 6), b=nn.Linear(30, 2)
    )


# ---- generative and others ---------------------------------------------------------------------


@case("4xP5 4xS5", ROWS)
def coupling_flow():
    def forward(m, x):
        total = 0
        for mask, scale, shift in zip(m.masks, m.scales, m.shifts, strict=True):
            log = torch.tanh(scale(mask * x)) * (1 - mask)
            x = mask * x + (1 - mask) * (x * log.exp() + shift(mask * x))
            total = total + log.sum(1)
        return x, total

    nets = lambda: nn.ModuleList(mlp(4, 5, 4, activation=nn.Tanh) for _ in range(2))  # noqa: E731
    model = Function(forward, scales=nets(), shifts=nets())
    model.register_buffer("masks", torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 1]]))
    return model


# Units of the same degree may change places; a mask of numbers is not looked into.
@case("3xP2 S6", ROWS, hidden="3xP2", left=["mul"])
def masked_autoregressive():
    degrees = torch.tensor([1, 1, 2, 2, 3, 3])
    place = torch.arange(4)
    model = Function(
        lambda m, x: F.linear(
            torch.tanh(F.linear(x, m.a.weight * m.first, m.a.bias)), m.b.weight * m.second, m.b.bias
        ),
        a=nn.Linear(4, 6), b=nn.Linear(6, 4),
    )  # fmt: skip
    model.register_buffer("first", (degrees[:, None] > place).float())
    model.register_buffer("second", (place[:, None] >= degrees).float())
    return model


# The codes may change places; their number, which argmin gives, hides that.
@case("P5 R3 P7 P6", ROWS, hidden="P6", left=["argmin"])
def vector_quantised():
    def forward(m, x):
        z = m.encoder(x)
        code = (z[:, None] - m.codes.weight).square().sum(-1).argmin(1)
        q = m.codes(code)
        return m.decoder(z + (q - z).detach()), F.mse_loss(q, z)

    return Function(
        forward, encoder=mlp(4, 5, 3), codes=nn.Embedding(6, 3), decoder=mlp(3, 7, 4)
    )  # fmt: skip


@case("P6 P5", ROWS)
def gumbel_softmax():
    return Function(
        lambda m, x: m.b(F.gumbel_softmax(m.a(x), tau=0.7)), a=mlp(4, 6, 5), b=nn.Linear(5, 3)
    )


@case("P6 P5", ROWS, hidden="P5", left=["max"])
def gumbel_softmax_hard():
    return Function(
        lambda m, x: m.b(F.gumbel_softmax(m.a(x), hard=True)), a=mlp(4, 6, 5), b=nn.Linear(5, 3)
    )


@case("P5 S5", ROWS)
def dropout_that_never_ends():
    return Function(
        lambda m, x: m.b(F.dropout(torch.tanh(m.a(x)), 0.5, True)), a=nn.Linear(4, 5),
        b=nn.Linear(5, 3),
    )  # fmt: skip


@case("P5", ROWS)
def self_normalising():
    return nn.Sequential(nn.Linear(4, 5), nn.SELU(), nn.AlphaDropout(0.1), nn.Linear(5, 3))


@case("R5 P6 S6", ROWS)
def neural_ode():
    def forward(m, x):
        h = m.a(x)
        for _ in range(3):
            h = h + 0.1 * m.f(h)
        return m.b(h)

    return Function(
        forward, a=nn.Linear(4, 5), f=mlp(5, 6, 5, activation=nn.Tanh), b=nn.Linear(5, 2)
    )


@case("P5 R3", ROWS)
def hypernetwork():
    def forward(m, x):
        w = m.hyper(m.z).view(5, 4)
        return m.b(F.relu(F.linear(x, w)))

    return Function(forward, z=param(3), hyper=nn.Linear(3, 20), b=nn.Linear(5, 2))


@case("P5 S5", ROWS, normal(6, 3))
def feature_wise_modulation():
    def forward(m, x, c):
        gain, bias = m.film(c).chunk(2, -1)
        return m.b(F.relu(gain * m.a(x) + bias))

    return Function(forward, a=nn.Linear(4, 5), film=nn.Linear(3, 10), b=nn.Linear(5, 2))


@case("P5 S5", ROWS)
def highway():
    def forward(m, x):
        x = m.a(x)
        for gate, layer in zip(m.gates, m.layers, strict=True):
            t = torch.sigmoid(gate(x))
            x = t * torch.tanh(layer(x)) + (1 - t) * x
        return m.b(x)

    layers = lambda: nn.ModuleList(nn.Linear(5, 5) for _ in range(2))  # noqa: E731
    return Function(forward, a=nn.Linear(4, 5), gates=layers(), layers=layers(), b=nn.Linear(5, 2))


@case("2xR5 P6 P7", ROWS)
def reversible():
    def forward(m, x):
        first, second = m.a(x).chunk(2, 1)
        first = first + m.f(second)
        second = second + m.g(first)
        return m.b(torch.cat([first, second], 1))

    return Function(forward, a=nn.Linear(4, 10), f=mlp(5, 6, 5), g=mlp(5, 7, 5), b=nn.Linear(10, 2))


# One encoder for both: hidden units, and rotations of what is normalised.
@case("P5 R3", ROWS, normal(6, 4))
def siamese():
    def forward(m, x, y):
        return F.cosine_similarity(m.a(x)[:, None], m.a(y)[None], -1) * m.scale.exp()

    return Function(forward, a=mlp(4, 5, 3), scale=param())


@case("P5 R3", ROWS)
def cosine_classifier():
    return Function(
        lambda m, x: 16 * F.linear(F.normalize(m.a(x)), F.normalize(m.w)), a=mlp(4, 5, 3),
        w=param(7, 3),
    )  # fmt: skip


@case("P5 S5 P6 S6", ROWS)
def siren():
    return Function(
        lambda m, x: m.c(torch.sin(30 * m.b(torch.sin(30 * m.a(x))))), a=nn.Linear(4, 5),
        b=nn.Linear(5, 6), c=nn.Linear(6, 2),
    )  # fmt: skip


# sin is odd and cos is even: a frequency's sign goes with its sines.
@case("P6 S6 P5", ROWS)
def fourier_features():
    def forward(m, x):
        z = 2 * torch.pi * x @ m.frequencies
        return m.b(torch.cat([torch.sin(z), torch.cos(z)], -1))

    return Function(forward, frequencies=param(4, 6), b=mlp(12, 5, 2))


@case("P5 S5", ROWS, normal(6, 3))
def bilinear_layer():
    return Function(
        lambda m, x, y: m.b(torch.tanh(m.a(x, y))), a=nn.Bilinear(4, 3, 5), b=nn.Linear(5, 2)
    )


@case("P5 P6", ROWS)
def bilinear_head():
    return Function(
        lambda m, x: m.c(F.relu(m.a(x)), F.relu(m.b(x))), a=nn.Linear(4, 5), b=nn.Linear(4, 6),
        c=nn.Bilinear(5, 6, 2),
    )  # fmt: skip


@case("R2 P5", ROWS)
def low_rank_layer():
    return nn.Sequential(linear(4, 2), nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))


# The bond of two cores, and the two numbers of a hidden unit.
@case("R2 2xP3", ROWS)
def tensor_train():
    def forward(m, x):
        y = torch.einsum("bij,imr,rjn->bmn", x.view(-1, 2, 2), m.first, m.second)
        return m.b(F.relu(y.flatten(1)))

    return Function(forward, first=param(2, 3, 2), second=param(2, 2, 3), b=nn.Linear(9, 2))


# A gain per head, behind tanh: signs of units, and of a head's gain with all that reads the head.
# The flip of all units of a head is a product of the first, and is not listed again.
@case("P2 2xP3 S6 S2", ROWS)
def gain_per_head():
    return Function(
        lambda m, x: m.b((torch.tanh(m.a(x).view(-1, 2, 3)) * m.gain).flatten(1)),
        a=nn.Linear(4, 6), gain=param(2, 1), b=nn.Linear(6, 3),
    )  # fmt: skip


@case("P5 S5", ROWS)
def spectral_norm():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 5))
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(5, 3))


# Rows of a product of reflections are no linear image of what trains.
@case("P6", ROWS, left=["linalg_householder_product"])
def orthogonal_weights():
    layer = nn.utils.parametrizations.orthogonal(nn.Linear(4, 5), orthogonal_map="householder")
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))


@case("P5 S5", ROWS)
def quantised_with_straight_through():
    def quantised(x):
        return x + ((x * 64).round() / 64 - x).detach()

    return Function(
        lambda m, x: F.linear(
            torch.tanh(F.linear(x, quantised(m.a.weight), m.a.bias)), quantised(m.b.weight)
        ),
        a=nn.Linear(4, 5), b=linear(5, 3),
    )  # fmt: skip


@case("P5", ROWS)
def pruned_of_nothing():
    model = mlp(4, 5, 3)
    prune.identity(model[0], "weight")
    return model


# Four units are left; a mask of numbers is not looked into.
@case("P4", ROWS, hidden="P4", left=["mul"])
def pruned_unit():
    model = Function(
        lambda m, x: m.b(F.relu(m.a(x)) * m.kept), a=nn.Linear(4, 5), b=nn.Linear(5, 3)
    )
    model.register_buffer("kept", torch.tensor([1.0, 1, 0, 1, 1]))
    return model


# Units are read in another order: they may still change places.
@case("P5", ROWS, hidden="P5", left=["index"])
def constant_gather():
    order = [3, 0, 4, 1, 2]
    return Function(
        lambda m, x: m.b(F.relu(m.a(x))[:, order]), a=nn.Linear(4, 5), b=nn.Linear(5, 3)
    )


# The transform is linear in each channel. R5 was missed when this table was written, and the
# Fourier transform had no rule: no activation stands between the lifting and the mixing.
@case("R5 P5 P6", normal(3, 9, 1))
def fourier_operator():
    def forward(m, x):
        h = m.lift(x)
        modes = torch.fft.rfft(h, dim=1)[:, :3]
        mixed = torch.einsum("bki,kio->bko", modes, torch.view_as_complex(m.w))
        h = F.gelu(torch.fft.irfft(mixed, n=9, dim=1) + m.local(h))
        return m.out(h)

    return Function(
        forward, lift=nn.Linear(1, 5), w=param(3, 5, 5, 2), local=nn.Linear(5, 5),
        out=mlp(5, 6, 1),
    )  # fmt: skip


@case("P5 P6", ROWS, hidden="P5", left=["w"])
def complex_weights():
    def forward(m, x):
        return m.b((x.to(m.w.dtype) @ m.w).abs())

    return Function(forward, w=nn.Parameter(torch.randn(4, 5, dtype=torch.cfloat)), b=mlp(5, 6, 2))


# ---- how things are called ---------------------------------------------------------------------


@case("P5 S5", ROWS)
def row_by_row():
    return Function(
        lambda m, x: torch.vmap(lambda row: m.b(torch.tanh(m.a(row))))(x), a=nn.Linear(4, 5),
        b=nn.Linear(5, 3),
    )  # fmt: skip


@case("P3 3xP5", ROWS)
def ensemble_by_vmap():
    def forward(m, x):
        one = lambda a, b: F.relu(x @ a) @ b  # noqa: E731
        return torch.func.vmap(one)(m.a, m.b).mean(0)

    return Function(forward, a=param(3, 4, 5), b=param(3, 5, 2))


# The energy's slope is an output too.
@case("P5 S5", ROWS)
def forces():
    def forward(m, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = m.net(x)
            force = -torch.autograd.grad(energy.sum(), x, create_graph=True)[0]
        return energy, force

    return Function(forward, net=mlp(4, 5, 1, activation=nn.Tanh))


@case("P5 S5", ROWS)
def forces_without_asking():
    def forward(m, x):
        x = x.clone().requires_grad_()
        energy = m.net(x)
        return energy, torch.autograd.grad(energy.sum(), x)[0]

    return Function(forward, net=mlp(4, 5, 1, activation=nn.Tanh))


@case("P5 S5", ROWS)
def slope_by_func():
    return Function(
        lambda m, x: torch.func.vmap(torch.func.grad(lambda row: m.net(row).squeeze()))(x),
        net=mlp(4, 5, 1, activation=nn.Tanh),
    )


@dataclasses.dataclass
class Heads:
    mean: torch.Tensor
    extra: dict


@case("P5", ROWS)
def heads_in_a_data_class():
    def forward(m, x):
        h = F.relu(m.trunk(x))
        return Heads(m.heads["mean"](h), {name: head(h) for name, head in m.heads.items()})

    heads = nn.ModuleDict({name: nn.Linear(5, 2) for name in ("mean", "spread")})
    return Function(forward, trunk=nn.Linear(4, 5), heads=heads)


Step = collections.namedtuple("Step", ["logits", "label", "name"])


@case("P5", ROWS)
def named_outputs_with_numbers():
    def forward(m, x):
        y = m.b(F.relu(m.a(x)))
        return Step(y, y.argmax(-1), "a step")

    return Function(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 3))


# A policy is a distribution: its logits must not change.
@case("P5 S5 P6", ROWS)
def actor_and_critic():
    def forward(m, x):
        h = torch.tanh(m.trunk(x))
        return torch.distributions.Categorical(logits=m.actor(h)), m.critic(h)

    return Function(forward, trunk=nn.Linear(4, 5), actor=nn.Linear(5, 3), critic=mlp(5, 6, 1))


@case("P5 S5", ROWS)
def policy_alone():
    def forward(m, x):
        return torch.distributions.Normal(m.b(torch.tanh(m.a(x))), m.spread.exp())

    return Function(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 3), spread=param(3))


@case("P5", ROWS, torch.tensor([0, 2, 1, 1, 2, 0]))
def loss_inside():
    return Function(lambda m, x, y: {"loss": F.cross_entropy(m.net(x), y)}, net=mlp(4, 5, 3))


# The batch as an object, as graph libraries have it. The input's columns are told apart.
@case("P5 P6", types.SimpleNamespace(x=torch.ones(6, 4), edges=EDGES))
def batch_as_an_object():
    def forward(m, batch):
        h = F.relu(m.a(batch.x))
        return m.b(torch.zeros_like(h).index_add(0, batch.edges[1], h[batch.edges[0]]))

    return Function(forward, a=nn.Linear(4, 5), b=mlp(5, 6, 2))


@case("P5", {"x": ROWS, "scale": [torch.ones(1), None, "text"]})
def batch_as_a_dict():
    return Function(lambda m, batch: m.net(batch["x"]) * batch["scale"][0], net=mlp(4, 5, 3))


@case("P5", ROWS)
def number_read_out():
    return Function(lambda m, x: m.net(x) / m.temperature.exp().item(), net=mlp(4, 5, 3),
                    temperature=param())  # fmt: skip


@case("P5", ROWS)
def choice_by_data():
    def forward(m, x):
        h = F.relu(m.a(x))
        return m.b(h) if h.sum() > h.mean().item() else m.c(h)

    return Function(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 3), c=nn.Linear(5, 3))


@case("P5 S5", ROWS)
def one_layer_under_two_names():
    model = Function(
        lambda m, x: m.d(torch.tanh(m.c(torch.tanh(m.b(torch.tanh(m.a(x))))))),
        a=nn.Linear(4, 5), b=nn.Linear(5, 5), d=nn.Linear(5, 3),
    )  # fmt: skip
    model.c = model.b
    return model


@case("2xP5", ROWS)
def list_of_parameters():
    def forward(m, x):
        for w in m.weights[:-1]:
            x = F.relu(x @ w)
        return x @ m.weights[-1] + m.others["bias"]

    shapes = (4, 5), (5, 5), (5, 3)
    return Function(
        forward, weights=nn.ParameterList(torch.randn(shape) for shape in shapes),
        others=nn.ParameterDict({"bias": torch.randn(3)}),
    )  # fmt: skip


@case("P5 S5", ROWS)
def with_a_dummy():
    model = mlp(4, 5, 3, activation=nn.Tanh)
    model.register_parameter("dummy", nn.Parameter(torch.empty(0)))
    return model


class OwnNorm(nn.Module):
    """Statistics that are assigned, and not written in place."""

    def __init__(self, width):
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.rand(width))
        self.register_buffer("var", torch.rand(width) + 0.5)

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0).detach()
            self.var = 0.9 * self.var + 0.1 * x.var(0).detach()
        return (x - self.mean) / torch.sqrt(self.var + 1e-5) * self.gain + self.bias


@case("P5 S5", ROWS)
def norm_by_hand():
    return mlp(4, 5, 3, norm=OwnNorm)


@case("P5 S5", ROWS)
def norm_across_machines():
    return mlp(4, 5, 3, norm=nn.SyncBatchNorm)


@case("P5 S5", ROWS)
def compiled():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own imports
        return torch.compile(mlp(4, 5, 3, activation=nn.Tanh))


@case("P5 S5", ROWS)
def compiled_in_place():
    model = mlp(4, 5, 3, activation=nn.Tanh)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.compile()
    return model


@case("P5 S5", ROWS)
def data_parallel():
    return nn.DataParallel(mlp(4, 5, 3, activation=nn.Tanh))


@case("P5", ROWS)
def hooked():
    model = mlp(4, 5, 3)
    model[0].register_forward_hook(lambda m, args, out: 2 * out)
    model[2].register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    model[2].register_full_backward_hook(lambda m, into, out: None)
    return model


@case("P5 S5", ROWS.half())
def half_precision():
    return mlp(4, 5, 3, activation=nn.Tanh).half()


@case("P5 S5", ROWS)
def under_autocast():
    def forward(m, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return m.net(x).float()

    return Function(forward, net=mlp(4, 5, 3, activation=nn.Tanh))


@case("P5 S5", ROWS)
def under_inference_mode():
    def forward(m, x):
        with torch.inference_mode():
            return m.net(x)

    return Function(forward, net=mlp(4, 5, 3, activation=nn.Tanh))


# Two heads of the same shape that nothing reads: their swap means nothing.
@case("P5", ROWS)
def spare_heads():
    heads = nn.ModuleList(nn.Linear(5, 3) for _ in range(3))
    return Function(lambda m, x: m.heads[0](F.relu(m.a(x))), a=nn.Linear(4, 5), heads=heads)


# Two towers that are alike, with inputs that are: the towers may not change places.
@case("2xP5 R3", torch.ones(6, 4), torch.ones(6, 4))
def towers_with_equal_inputs():
    return Function(
        lambda m, x, y: (m.towers[0](x) * m.towers[1](y)).sum(1),
        towers=nn.ModuleList(mlp(4, 5, 3) for _ in range(2)),
    )


@case("P5 S5", torch.zeros(6, 4))
def nothing_but_zeros():
    return mlp(4, 5, 3, activation=nn.Tanh)
