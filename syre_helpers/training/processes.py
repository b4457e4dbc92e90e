"""Several processes that train one model: each computes its share of every batch.

They are started, and told of one another, by `accelerate`. The loss is that of the whole batch: the
outputs are brought together before it is computed, so that it need not be a mean over samples.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..removal.sharded import is_sharded
from .batch_norm import over_all_processes
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

        Raises
        ------
        ValueError
            If the model is sharded: every process needs the whole of it.
        """
        for name, parameter in model.named_parameters():
            if is_sharded(parameter):
                raise ValueError(
                    f"parameter {name!r} is sharded; fit trains whole models. In a loop of your "
                    "own, syre.attach(optimizer, model) pulls sharded ones"
                )
        model.to(self.device)
        if self.count > 1:
            for value in (*model.parameters(), *model.buffers()):
                sent = value.detach().contiguous()
                torch.distributed.broadcast(sent, src=0)
                value.detach().copy_(sent)
        return model

    def joint_statistics(self, model: nn.Module) -> AbstractContextManager[object]:
        """Let BatchNorm see the whole batch inside the ``with`` block."""
        return over_all_processes(model, self._add) if self.count > 1 else nullcontext()

    def output(self, model: nn.Module, x: Tensor | None) -> Tensor:
        """Return what the model makes of inputs, computed in the accelerator's precision."""
        lowered = nullcontext() if self._accelerator is None else self._accelerator.autocast()
        with lowered:
            output: Tensor = model() if x is None else model(x)
        return output.float() if self._mixed and output.dtype in _HALVES else output

    def gradients(
        self,
        output: Callable[[Tensor | None], Tensor],
        loss: Callable[[Tensor, Tensor], Tensor],
        batch: Pair,
        parameters: Iterable[Tensor],
    ) -> None:
        """Leave in ``.grad`` what one process would, which had the whole batch to itself."""
        x, y = batch
        if self.count == 1 or x is None:
            # Without inputs nothing can be shared out: every process computes the same.
            loss(output(x), y).backward()
            return
        if len(x) < self.count:
            raise ValueError(
                f"a batch of {len(x)} samples cannot be shared by {self.count} processes; raise "
                "batch_size or start fewer"
            )
        shares = x.tensor_split(self.count)
        joined = self._joined(output(shares[self._rank]), [len(share) for share in shares])
        loss(joined, y).backward()
        self._average([p.grad for p in parameters if p.grad is not None])

    def wait(self) -> None:
        """Go on only when all processes have come to this point."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()

    def check_alike(self, found: bool, what: str) -> None:
        """Raise ValueError where only some of the processes have found a thing."""
        if self.count > 1:
            seen = int(self._add(torch.tensor([int(found)], device=self.device)))
            if seen not in (0, self.count):
                raise ValueError(
                    f"{what} is there for {seen} of {self.count} processes; put it where all of "
                    "them see it, on a file system that they share"
                )

    def _joined(self, own: Tensor, sizes: list[int]) -> Tensor:
        """Return the outputs of all processes, of which only one's own has a gradient.

        That one is multiplied by the number of processes. Their average is then the gradient of the
        whole, and also where a loss has terms beside, such as a penalty, that all of them compute.
        """
        if own.ndim == 0 or len(own) != sizes[self._rank]:
            raise ValueError(
                f"the model made an output of shape {tuple(own.shape)} from "
                f"{sizes[self._rank]} samples; in several processes it needs one row a sample"
            )
        # Shares differ by one sample at most; what is sent must not differ.
        sent = own.detach().new_zeros(max(sizes), *own.shape[1:])
        sent[: len(own)] = own.detach()
        assert self._accelerator is not None
        received = self._accelerator.gather(sent).split(max(sizes))
        parts = [part[:size] for part, size in zip(received, sizes, strict=True)]
        if own.requires_grad:
            own.register_hook(lambda gradient: gradient * self.count)
        parts[self._rank] = own
        return torch.cat(parts)

    def _average(self, gradients: list[Tensor]) -> None:
        """Replace gradients by their means over the processes, in one message a number format."""
        for dtype in dict.fromkeys(g.dtype for g in gradients):
            alike = [g for g in gradients if g.dtype == dtype]
            mean = self._add(torch.cat([g.reshape(-1) for g in alike])) / self.count
            for g, part in zip(alike, mean.split([g.numel() for g in alike]), strict=True):
                g.copy_(part.view_as(g))

    def _add(self, tensor: Tensor) -> Tensor:
        assert self._accelerator is not None
        total: Tensor = self._accelerator.reduce(tensor, reduction="sum")
        return total


def launched(device: str | None = None) -> Accelerator | None:
    """Return what joins the processes that a launcher started; None where none did.

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
