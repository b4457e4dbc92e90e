"""Several processes that train one model: each computes the outputs of its share of every batch.

They are started, and told of one another, by `accelerate`; PyTorch's `DistributedDataParallel`
averages the gradients.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from ..removal.sharded import is_sharded
from .device import pick_device

if TYPE_CHECKING:
    from accelerate import Accelerator

    from .batches import Pair

_HALVES = (torch.bfloat16, torch.float16)


class Processes:
    """What the processes of a run do together; alone, there is nothing to do.

    Parameters
    ----------
    accelerator : accelerate.Accelerator, optional
        Default: this process trains alone.
    device : torch.device
        Where to train; with an accelerator that one's counts.

    Raises
    ------
    ValueError
        If the accelerator was set up for what `fit` does not do: sharding, accumulation of
        gradients, or a precision that needs scaled gradients.
    """

    def __init__(self, accelerator: Accelerator | None, device: torch.device) -> None:
        self._accelerator = accelerator
        self._trained: nn.Module | None = None
        self.count, self._rank, self.device, self._mixed = 1, 0, device, False
        if accelerator is not None:
            _check(accelerator)
            self.count, self._rank = accelerator.num_processes, accelerator.process_index
            given = accelerator.device
            # Several processes on a CPU have "cpu:0", which torch.load does not know.
            self.device = torch.device("cpu") if given.type == "cpu" else given
            self._mixed = accelerator.mixed_precision == "bf16"
        self.main = self._rank == 0

    def place(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, with the main process' parameters and buffers everywhere.

        Parameters
        ----------
        model : nn.Module
            Changed in place. On several GPUs its BatchNorm layers become ``SyncBatchNorm``.

        Returns
        -------
        nn.Module
            The same model.

        Raises
        ------
        ValueError
            If the model is sharded, of which every process needs the whole; or if it has BatchNorm
            and there are several processes on CPUs.
        """
        for name, parameter in model.named_parameters():
            if is_sharded(parameter):
                raise ValueError(
                    f"parameter {name!r} is sharded; fit trains whole models. In a loop of your "
                    "own, syre.attach(optimizer, model) pulls sharded ones"
                )
        model.to(self.device)
        self._trained = model
        if self.count > 1:
            if self.device.type != "cpu":
                model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
            norms = [n for n, m in model.named_modules() if isinstance(m, _BatchNorm)]
            if norms and self.device.type == "cpu":
                raise ValueError(
                    f"the model has BatchNorm ({norms[0]!r}), and {self.count} processes on a CPU "
                    "cannot share its statistics; train it in one process, or on GPUs"
                )
            if any(p.requires_grad for p in model.parameters()):
                # It brings all processes to the first one's parameters and buffers.
                self._trained = DistributedDataParallel(model, find_unused_parameters=True)
        return model

    def output(self, model: nn.Module, x: Tensor | None) -> Tensor:
        """Return the output of a model for inputs, computed in the accelerator's precision."""
        lowered = nullcontext() if self._accelerator is None else self._accelerator.autocast()
        with lowered:
            output: Tensor = model() if x is None else model(x)
        return output.float() if self._mixed and output.dtype in _HALVES else output

    def gradients(
        self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], batch: Pair
    ) -> None:
        """Leave in ``.grad`` what one process would, which had the whole batch to itself.

        Parameters
        ----------
        model : nn.Module
            From `place`.
        loss : callable
            ``loss(output, y)``; need not be a mean over samples.
        batch : tuple of Tensor
            The whole of it, in every process.

        Raises
        ------
        ValueError
            If the batch cannot be shared out, or the outputs cannot be joined.
        """
        x, y = batch
        if self.count == 1 or x is None:
            # Without inputs nothing can be shared out: every process computes the same.
            loss(self.output(model, x), y).backward()
            return
        if len(x) < self.count:
            raise ValueError(
                f"a batch of {len(x)} samples cannot be shared by {self.count} processes; raise "
                "batch_size or start fewer"
            )
        shares = x.tensor_split(self.count)
        assert self._trained is not None
        own = self.output(self._trained, shares[self._rank])
        loss(self._joined(own, [len(share) for share in shares]), y).backward()

    def wait(self) -> None:
        """Go on only when all processes have come to this point."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()

    def check_alike(self, found: bool, what: str) -> None:
        """Check that all processes have found a thing, or none.

        Parameters
        ----------
        found : bool
            Whether this process has.
        what : str
            What to call it in the message.

        Raises
        ------
        ValueError
            If only some have.
        """
        if self._accelerator is not None and self.count > 1:
            one = torch.tensor([int(found)], device=self.device)
            seen = int(self._accelerator.reduce(one, reduction="sum"))
            if seen not in (0, self.count):
                raise ValueError(
                    f"{what} is there for {seen} of {self.count} processes; put it where all of "
                    "them see it, on a file system that they share"
                )

    def _joined(self, own: Tensor, sizes: list[int]) -> Tensor:
        """Return the outputs of all processes, of which only one's own has a gradient."""
        if own.ndim == 0 or len(own) != sizes[self._rank]:
            raise ValueError(
                f"the model made an output of shape {tuple(own.shape)} from "
                f"{sizes[self._rank]} samples; in several processes it needs one row per sample"
            )
        # Shares differ by one sample at most; what is sent must not differ.
        sent = own.detach().new_zeros(max(sizes), *own.shape[1:])
        sent[: len(own)] = own.detach()
        assert self._accelerator is not None
        received = self._accelerator.gather(sent).split(max(sizes))
        parts = [part[:size] for part, size in zip(received, sizes, strict=True)]
        # The average over processes is then the gradient of the whole, also where a loss has terms
        # beside, such as a penalty, that all of them compute.
        if own.requires_grad:
            own.register_hook(lambda gradient: gradient * self.count)
        parts[self._rank] = own
        return torch.cat(parts)


def launched(device: str | None = None) -> Accelerator | None:
    """Return the accelerator that joins launched processes; None where none were launched.

    Parameters
    ----------
    device : str, optional
        As in `pick_device`. On a CPU the processes may be as many as one likes, else there is one
        a GPU.

    Returns
    -------
    accelerate.Accelerator or None
        Under ``accelerate launch`` and ``torchrun``: with their number of processes and precision.

    Raises
    ------
    ImportError
        If processes were started and accelerate is not installed.
    ValueError
        If the device is not there, or does not allow for so many processes.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started == 1 and "ACCELERATE_MIXED_PRECISION" not in os.environ:
        return None
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ImportError(
            f"{started} processes were started, which accelerate joins, and it is not installed: "
            'pip install "syre_helpers[train]"'
        ) from error
    accelerator = Accelerator(cpu=pick_device(device, quiet=True).type == "cpu")
    if accelerator.num_processes != started:
        raise ValueError(
            f"{started} processes were started, and {accelerator.device.type} is for one; start "
            "one, or choose the CPU (--device cpu, or SYRE_DEVICE=cpu)"
        )
    return accelerator


def _check(accelerator: Accelerator) -> None:
    kind = accelerator.distributed_type.value
    if kind != "NO" and not kind.startswith("MULTI_"):
        raise ValueError(
            f"the accelerator was set up for {kind}; fit shares out batches, and every process "
            "has the whole model. In a loop of your own, syre.attach(optimizer, model) pulls "
            "sharded models"
        )
    if accelerator.mixed_precision not in ("no", "bf16"):
        raise ValueError(
            f"mixed_precision={accelerator.mixed_precision!r} needs scaled gradients, which fit "
            "has not; use 'bf16' or 'no'"
        )
    if accelerator.gradient_accumulation_steps != 1:
        raise ValueError(
            f"gradient_accumulation_steps={accelerator.gradient_accumulation_steps}: fit takes a "
            "step a batch; start more processes, or accumulate in a loop of your own with "
            "syre.attach(optimizer, model)"
        )
