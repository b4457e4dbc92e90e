"""Imported by the server that trainings are forked from: trainings that do the late imports."""

import tempfile
from pathlib import Path

import torch

from syre_helpers.training import listening
from tools.kills.kill import digests
from tools.kills.runs import RUNS

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as home, listening():
    for name in ("train_many, SGD", "mode_connectivity, one by one", "a grid of dead_neurons"):
        digests(RUNS[name](Path(home) / name))
