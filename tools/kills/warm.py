"""Imported by the server that trainings are forked from: a first training does the late imports."""

import tempfile
from pathlib import Path

import torch

from syre_helpers.training import listening
from tools.kills import kill, runs

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as name, listening():
    for module in ("dead_neurons", "identical_units", "mode_connectivity"):
        runs.experiments.load(module)
    kill.digests(runs.fit_one(Path(name), steps=6))
    kill.digests(runs.fit_several(Path(name), steps=6))
