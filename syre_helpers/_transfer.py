"""The way of what was drawn on the CPU to a GPU, without waiting for the GPU.

Needs torch only, and belongs to the ground floor of the package.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; the program does not wait until a GPU has it.

    An ordinary copy to a GPU waits for all that was given to the GPU before, which then idles until
    it is given more. Out of page-locked memory the copy takes its turn behind the other work.

    Parameters
    ----------
    tensor : Tensor
        On the CPU. It may be changed or dropped afterwards.
    device : torch.device
        Where it is wanted.

    Returns
    -------
    Tensor
        The same values on the device; `tensor` itself where it is there already.

    Examples
    --------
    >>> sent(torch.ones(2), torch.device("cpu"))
    tensor([1., 1.])
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
