"""Estimated seconds of a recording, from the operations of its networks, counted on the CPU."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from syre_helpers import experiments, models
from tools.gpu.recordings import Recording

# Operations per second that a large GPU is taken to reach: 20% of the 990e12 of its matrix units in
# bfloat16 for wide networks, less for narrow ones, whose time goes into moving bytes.
_WIDE, _NARROW = 200e12, 60e12
# What a step of one model takes however small the model is: its launches.
_LAUNCHES = 8e-3
_START, _COMPILATION = 20.0, 40.0
# Of measuring between steps, as a share of training.
_MEASURED = 0.15
_TRAINING_IMAGES = 50_000


def seconds(recording: Recording) -> float:
    """Return the estimated seconds of a recording on one large GPU.

    Parameters
    ----------
    recording : Recording
        One that trains on images of 3 x 32 x 32 pixels, or on text.

    Returns
    -------
    float
        With the start, compilation and measurements.
    """
    module = experiments.load(recording.experiment)
    config = experiments.configure(module, recording.preset)
    models_trained = len(module.compared_arms(config)) * sum(map(len, recording.groups))
    views = 2 if recording.experiment == "simclr" else 1
    work = per_sample(*_network(config)) * views * config.batch_size
    steps = getattr(config, "steps", None)
    if steps is None:
        steps = config.epochs * (_TRAINING_IMAGES // config.batch_size)
    if recording.speed.stacked:
        training = steps * models_trained * work / _NARROW
    else:
        wide = getattr(config, "width", 0) >= 64 or getattr(config, "dim", 0) >= 256
        rate = _WIDE if wide else _NARROW
        training = steps * models_trained * max(work / rate, _LAUNCHES / recording.processes)
    start = _START + _COMPILATION * (recording.speed.compiled or recording.speed.stacked)
    return round(start + (1 + _MEASURED) * training, 0)


def _network(config: Any) -> tuple[str, int, int, int]:
    """Return a key of the network: its kind and three sizes."""
    if hasattr(config, "context"):
        return "gpt", config.dim, config.depth, config.context
    if getattr(config, "model", "") == "vit":
        return "vit", config.dim, config.depth, 0
    return "resnet", config.width, 0, 0


@cache
def per_sample(kind: str, size: int, depth: int = 0, context: int = 0) -> int:
    """Return the floating-point operations of a network for a sample, forwards and backwards.

    Parameters
    ----------
    kind : {"resnet", "vit", "gpt"}
        Which. A sample is an image, or a piece of text.
    size : int
        Channels of the first stage, or the width of the transformer.
    depth : int
        Blocks of the transformer. Default 0, for ResNets.
    context : int
        Bytes per piece of text. Default 0, for images.

    Returns
    -------
    int
        Of matrix products and convolutions; a multiplication and an addition are two.
    """
    model: nn.Module = models.resnet18(width=size)
    if kind == "vit":
        model = models.vit(dim=size, depth=depth)
    x = torch.zeros(2, 3, 32, 32)
    if kind == "gpt":
        model = models.gpt(context=context, dim=size, depth=depth, heads=1, mlp=4 * size)
        x = torch.zeros(2, context, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    return int(counter.get_total_flops()) // len(x)
