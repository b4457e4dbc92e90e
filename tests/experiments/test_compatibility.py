"""Compatibility: what the quick run must show, the claims, the images, and resuming."""

from __future__ import annotations

import nbformat
import pandas as pd
import pytest
import torch

import syre_helpers as sh
from syre_helpers import experiments
from syre_helpers.experiments import compatibility
from syre_helpers.experiments._rules import interval
from syre_helpers.training.options import columns_of
from tools.build import chapters


def test_every_preset_has_the_arms_that_the_claims_read():
    for name, config in compatibility.PRESETS.items():
        found = columns_of(compatibility.compared_arms(config))
        table = pd.DataFrame(found).assign(seed=0, step=1, accuracy=0.5)
        for claim in compatibility.CLAIMS:
            assert claim.values(table).tolist() == [0], name


def test_only_the_shifted_arm_changes_the_start_and_by_theta_0():
    model = sh.models.conv_net()
    params = {name: p.detach() for name, p in model.named_parameters()}
    arms = {arm.label: arm for arm in compatibility.compared_arms(compatibility.Config())}
    assert arms["syre 100%"].start(params, 3) is params
    start = arms["syre 100%, shifted"].start(params, 3)
    centre = arms["syre 100%"].pull(params, 3).centre
    for name, p in params.items():
        torch.testing.assert_close(start[name] - p, centre[name])


def test_arms_of_a_seed_start_alike(small):
    first = compatibility.run(small("compatibility", sigma_ratios=(0.1,)))
    starts = first[(first.step == 0) & (first.arm != "syre 100%, shifted")]
    assert (starts.groupby("seed").accuracy.nunique() == 1).all()
    assert starts.groupby("arm").test_loss.nunique().min() == 2


@pytest.mark.usefixtures("false_images")
def test_augmented_images_belong_to_seed_and_step(small):
    small_run = {"sigma_ratios": (), "fix_shares": (), "batch_size": 20, "width": 1}
    tables = [
        compatibility.run(small("compatibility", "cifar", **small_run, augment=augment))
        for augment in (True, True, False)
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
    assert not tables[0].train_loss.equals(tables[2].train_loss)


# ---- the page --------------------------------------------------------------------------------


def table_of(record):
    """The differences to plain decay as a Markdown table."""
    final = record.table[record.table.step == record.table.step.max()]
    accuracy = final.pivot(index="seed", columns="arm", values="accuracy")
    lines = ["| arm | points against plain decay |", "| --- | ---: |"]
    for arm in record.table.arm.unique():
        if arm == "plain decay":
            continue
        found = interval(100 * (accuracy[arm] - accuracy["plain decay"]))
        mean, low, high = map(signed, (found.mean, found.low, found.high))
        lines.append(f"| {arm} | {mean} ({low} to {high}) |")
    return "\n".join(lines)


def signed(number):
    return "0.0" if abs(number) < 0.05 else f"{number:+.1f}".replace("-", "−")


def test_the_page_shows_the_recorded_numbers():
    record = experiments.read_record(chapters.ROOT / "results" / "compatibility-quick.csv")
    page = nbformat.read(chapters.BOOK / "remedy" / "what-it-costs.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    assert table_of(record) in text
    assert "python -m syre_helpers run compatibility" in record.provenance["command"]
    for preset in compatibility.PRESETS:
        assert preset == "quick" or f"--preset {preset}" in text
