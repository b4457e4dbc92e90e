"""A record is a table beside its provenance, and its run may be interrupted."""

import dataclasses
import json
import os

import pandas as pd
import pytest

from syre_helpers import experiments
from syre_helpers.experiments import record


def test_a_killed_run_goes_on(tmp_path, interrupted_at):
    """The full-size preset on a short schedule: interrupted, run again, compared with one go."""
    module = experiments.load("dead_neurons")
    config = experiments.configure(module, "full-size", steps=60, d=20, samples=50, seeds=2)
    whole = module.run(config)
    steps = interrupted_at(32)
    with pytest.raises(KeyboardInterrupt):
        record.run_recorded("dead_neurons", "full-size", config, module.run, tmp_path)
    clock = tmp_path / "run.json"
    kept = json.loads(clock.read_text())
    clock.write_text(json.dumps(kept | {"seconds": 1000.0}))
    resumed = record.run_recorded("dead_neurons", "full-size", config, module.run, tmp_path)
    assert resumed.provenance["seconds"] >= 1000, "the part before the interruption counts"
    assert len(steps) - 32 == 60 - 30
    pd.testing.assert_frame_equal(whole, resumed.table, check_exact=True)
    other = dataclasses.replace(config, lr=0.5)
    with pytest.raises(ValueError, match="other settings"):
        record.run_recorded("dead_neurons", "full-size", other, module.run, tmp_path)


@dataclasses.dataclass(frozen=True)
class Short:
    """Settings of a run that does nothing."""

    device: str = "cpu"


def test_a_part_that_was_killed_counts_up_to_its_last_checkpoint(tmp_path):
    """A kill leaves no moment to write the seconds: 300 of them passed before the checkpoint."""

    def killed(config, checkpoints):
        (checkpoints / "seed 0.pt").touch()
        began = (checkpoints / "run.json").stat().st_mtime
        os.utime(checkpoints / "seed 0.pt", (began + 300, began + 300))
        kept.append((checkpoints / "run.json").read_bytes())
        raise KeyboardInterrupt

    def short(config, checkpoints):
        return pd.DataFrame({"x": [1.0]})

    kept = []
    with pytest.raises(KeyboardInterrupt):
        record.run_recorded("short", "quick", Short(), killed, tmp_path)
    stopped = record.run_recorded("short", "quick", Short(), short, tmp_path)
    assert stopped.provenance["seconds"] < 100, "a part that ended wrote its own seconds"
    clock = tmp_path / "run.json"
    clock.write_bytes(kept[0])
    began = (tmp_path / "seed 0.pt").stat().st_mtime - 300
    os.utime(clock, (began, began))
    resumed = record.run_recorded("short", "quick", Short(), short, tmp_path)
    assert 300 <= resumed.provenance["seconds"] < 310


def test_a_table_without_provenance_is_no_record(tmp_path):
    (tmp_path / "run.csv").write_text("arm\n")
    with pytest.raises(FileNotFoundError):
        record.read_record(tmp_path / "run.csv")
    result = record.Record(pd.DataFrame({"x": [1.5]}), {"a": 1})
    with pytest.raises(ValueError, match=r"\.csv"):
        record.write_record(result, tmp_path / "run")
    record.write_record(result, tmp_path / "run.csv")
    assert json.loads((tmp_path / "run.json").read_text()) == {"a": 1}
