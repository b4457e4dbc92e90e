"""ResNet-18 as it is used for images of 32 x 32 pixels."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from .._checks import check_positive_int


def resnet18(n_classes: int = 10, width: int = 64, channels: int = 3) -> nn.Sequential:
    """Return a ResNet-18 for small images: the first layer is a 3 x 3 convolution, without a pool.

    Parameters
    ----------
    n_classes : int, default 10
        Number of outputs.
    width : int, default 64
        Channels of the first stage; the stages have 1, 2, 4 and 8 times as many. The standard
        network has 64 and, for ten classes, 11,173,962 parameters; 4 makes one for tests.
    channels : int, default 3
        Channels of an image.

    Returns
    -------
    nn.Sequential
        Maps images (batch, channels, height, width) to (batch, n_classes). Its parts are named
        "stem", "stage1" to "stage4", "pool" and "readout"; without the last, ``model[:-1]`` gives
        the features, (batch, 8 * width). PyTorch's own initialisation, float32.

    Raises
    ------
    ValueError
        If a number is not a positive int.

    References
    ----------
    K. He, X. Zhang, S. Ren and J. Sun, Deep residual learning for image recognition, CVPR 2016:
    figure 5 (left) and table 1, with the first layer of section 4.2.

    Examples
    --------
    >>> import torch
    >>> model = resnet18(width=4)
    >>> model(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    >>> sum(p.numel() for p in resnet18().parameters())
    11173962
    """
    check_positive_int("width", width)
    stem = OrderedDict(
        conv=_conv3x3(check_positive_int("channels", channels), width),
        norm=nn.BatchNorm2d(width),
        activation=nn.ReLU(),
    )
    parts: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Sequential(stem))
    depth = width
    for stage, stride in enumerate((1, 2, 2, 2)):
        count = width * 2**stage
        blocks = ResidualBlock(depth, count, stride), ResidualBlock(count, count)
        parts[f"stage{stage + 1}"] = nn.Sequential(*blocks)
        depth = count
    parts["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    parts["readout"] = nn.Linear(depth, check_positive_int("n_classes", n_classes))
    return nn.Sequential(parts)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm, added to what came in.

    Where the shape changes, what came in goes through a 1 x 1 convolution with BatchNorm.

    Parameters
    ----------
    inputs, outputs : int
        Channels before and after.
    stride : int
        Of the first convolution. Default 1.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, outputs, stride)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = _conv3x3(outputs, outputs)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.activation = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            narrow = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(OrderedDict(conv=narrow, norm=nn.BatchNorm2d(outputs)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        inner = self.activation(self.norm1(self.conv1(x)))
        return self.activation(self.norm2(self.conv2(inner)) + self.shortcut(x))


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
