"""What several test files need."""

from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from syre_helpers.training import listening


def operators_of_torchvision():
    """Declare two operators of torchvision where its own cannot be loaded; return what holds them.

    PyPI's torchvision for Linux is built for CUDA. Beside a PyTorch for the CPU its operators do
    not load, and then `import torchvision` fails, where it describes these two. timm needs its
    Python parts only, and so do Lightning and transformers, which import any that is there.
    """
    package = find_spec("torchvision")
    compiled = list(Path(package.origin).parent.glob("_C.*")) if package else []
    try:
        for file in compiled:
            torch.ops.load_library(file)
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


# Held as long as the tests run: the operators are gone when it is.
TORCHVISION = operators_of_torchvision()


@pytest.fixture
def interrupted_at():
    """Return a function: `interrupted_at(n)` ends training once, at its n-th step from now.

    It returns the list of all steps begun since.
    """
    with ExitStack() as stack:

        def interrupted_at(n):
            begun = []

            def stop(moment):
                if moment.rows is None:
                    begun.append(moment.step)
                    if len(begun) == n:
                        raise KeyboardInterrupt

            stack.enter_context(listening(stop))
            return begun

        yield interrupted_at
