"""Tasks one after another: images whose pixels are shuffled anew, and the network that learns."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .._random import generator
from ..training.batches import BatchOrder
from ..training.options import made_with_seed
from ._common import Descent, Seeds
from ._images import load_images

Params = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Config(Descent):
    """Settings of the experiment; those that others have too are in `Descent`."""

    data: Literal["digits", "mnist"] = "digits"
    """Images."""
    samples: int = 0
    """Training images to use; 0: all."""
    network: Literal["mlp", "cnn"] = "mlp"
    """A ReLU network, or a convolutional one: 3 x 3 kernels, the second with stride 2, and a hidden
    layer behind them."""
    channels: tuple[int, int] = (8, 16)
    """Channels of the two convolutions; without a meaning for "mlp"."""
    tasks: int = 20
    """Number of tasks."""
    steps: int = 80
    """Training steps per task."""
    width: int = 32
    """Hidden units per layer."""
    layers: int = 4
    """Hidden layers; without a meaning for "cnn", which has one behind the convolutions."""
    batch_size: int = 64
    """Images per batch."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """With SGD the pull enters the gradient; with AdamW it is a step of its own."""
    lr: float = 0.05
    weight_decay: float = 0.02
    sigma_ratios: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0)
    tuning_seeds: int = 0
    """Seeds of the tuning; 0: no tuning, `lr` and `weight_decay` are what is used."""
    lrs: tuple[float, float] = (0.02, 0.05)
    """Learning rates that the tuning may choose from."""
    decays: tuple[float, float, float, float] = (0.003, 0.01, 0.03, 0.1)
    """Decays that the tuning may choose from."""
    vanilla_lrs: tuple[float, ...] = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1)
    """Learning rates for vanilla, which has nothing else to tune."""
    seeds: Seeds = 8
    """Number of seeds, counted from 0, or from `tuning_seeds` after a tuning; without a tuning
    also the seeds themselves. Each has tasks and batches of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tuning_seeds and not isinstance(self.seeds, int):
            raise ValueError(
                f"seeds={self.seeds!r} with tuning_seeds={self.tuning_seeds}: the seeds of a tuned "
                "run share its tuning and cannot be split; give their number"
            )


class Stream:
    """The tasks of a seed: the same images, their pixels in another order for each task.

    Called with a step, it returns that step's batch, and remembers the task, which the measures
    then look at. What a step's batch is depends on the step only.

    Parameters
    ----------
    config : Config
        Data, numbers of tasks and steps, batch size and device.
    number : int
        Streams of different numbers have different permutations and batches. Default 0.
    """

    def __init__(self, config: Config, number: int = 0) -> None:
        split = load_images(config.data, config.samples or None, device=config.device)
        x, y, x_test, y_test = split
        if config.samples:
            x, y = x[: config.samples], y[: config.samples]
        self._x, self._y, self._x_test, self.y_test = x, y, x_test, y_test
        self._steps = config.steps
        self._number = number
        self._order = BatchOrder(len(y), config.batch_size, 1_000 + number)
        # Always the same one: a checkpoint tells runs apart by all that an arm refers to.
        self._model = made_with_seed(lambda: make_network(config), 0)
        self._task = -1
        self._go_to(0)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the inputs and labels of a step."""
        self._go_to(step // self._steps)
        index = self._order.at(step).to(self._y.device)
        return self._x[index][:, self.permutation], self._y[index]

    def activations(self, params: Params, step: int) -> dict[tuple[str, str], Tensor]:
        """Return the outputs of all hidden layers on the batch of the step before: see `redo`."""
        outputs = hidden_layers(self._model, params, self(step - 1)[0])
        weighted = [name for name, _ in self._model.named_children() if f"{name}.weight" in params]
        return dict(zip(itertools.pairwise(weighted), outputs, strict=True))

    def _go_to(self, task: int) -> None:
        if task != self._task:
            self._task = task
            self.permutation = permutation(self._number, task, self._x.shape[1]).to(self._x.device)
            self.x_test = self._x_test[:, self.permutation]


def make_network(config: Config, normed: bool = False) -> nn.Sequential:
    """Return a new network with ReLU behind every hidden layer.

    Parameters
    ----------
    config : Config
        Its kind and its sizes.
    normed : bool
        Put a LayerNorm before each ReLU; behind a convolution, over channels and pixels, which is
        ``nn.GroupNorm(1, channels)``. Default False.

    Returns
    -------
    nn.Sequential
        Maps flat images to the logits of ten classes.
    """
    side = 28 if config.data == "mnist" else 8
    hidden: list[tuple[nn.Module, nn.Module]]
    if config.network == "mlp":
        widths = [side**2, *[config.width] * config.layers]
        hidden = [(nn.Linear(a, b), nn.LayerNorm(b)) for a, b in itertools.pairwise(widths)]
        layers: list[nn.Module] = []
    else:
        first, second = config.channels
        layers = [nn.Unflatten(1, (1, side, side))]
        flat = second * (side // 2) ** 2
        hidden = [
            (nn.Conv2d(1, first, 3, padding=1), nn.GroupNorm(1, first)),
            (nn.Conv2d(first, second, 3, stride=2, padding=1), nn.GroupNorm(1, second)),
            (
                nn.Sequential(nn.Flatten(), nn.Linear(flat, config.width)),
                nn.LayerNorm(config.width),
            ),
        ]
    for layer, norm in hidden:
        layers += [*(layer if isinstance(layer, nn.Sequential) else [layer])]
        layers += [norm, nn.ReLU()] if normed else [nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(config.width, 10))


def permutation(stream: int, task: int, pixels: int) -> Tensor:
    """Return the order of the pixels in a task, which depends on these numbers only."""
    return torch.randperm(pixels, generator=generator(stream, "permutation", task))


def layers(params: Params) -> Sequence[tuple[str, str]]:
    """Return the names of weight and bias of all layers, in order."""
    numbers = sorted({int(name.split(".")[0]) for name in params})
    return [(f"{k}.weight", f"{k}.bias") for k in numbers]


def hidden_layers(model: nn.Module, params: Params, x: Tensor) -> list[Tensor]:
    """Return the outputs of a sequence's ReLUs: (samples, units, ...) for each hidden layer."""
    outputs = []
    for name, module in model.named_children():
        own = {p: params[f"{name}.{p}"] for p, _ in module.named_parameters()}
        x = functional_call(module, own, (x,))
        if isinstance(module, nn.ReLU):
            outputs.append(x)
    return outputs


def all_alike(params: Params) -> Params:
    """Return the nearest parameters in which all the units of a hidden layer are identical."""
    names = list(layers(params))
    alike: dict[str, Tensor] = {}
    for k, (weight, bias) in enumerate(names):
        w, b = params[weight], params[bias]
        if k < len(names) - 1:
            w = w.mean(0, keepdim=True).expand_as(w)
            b = b.mean().expand_as(b)
        if k > 0:
            w = w.mean(1, keepdim=True).expand_as(w)
        alike |= {weight: w, bias: b}
    return alike
