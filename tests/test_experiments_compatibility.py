"""Compatibility: what the quick run must show, the claims, the images, and resuming."""

from __future__ import annotations

import dataclasses

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

import chapters
import syre_helpers as sh
from syre_helpers import experiments
from syre_helpers.experiments import compatibility
from syre_helpers.training import loop


def last(table):
    return table[table.step == table.step.max()].set_index(["arm", "seed"]).sort_index()


@pytest.fixture(scope="module")
def quick():
    """The arms of the quick preset that the tests below read, and all of its seeds."""
    with pytest.MonkeyPatch.context() as patch:
        every = compatibility.compared_arms
        named = {"plain decay", "syre 0.01", "syre 0.1", "syre 1 shifted", "bias added after 0.1"}
        patch.setattr(
            compatibility, "compared_arms", lambda c: [a for a in every(c) if a.name in named]
        )
        return experiments.run("compatibility")


@pytest.mark.slow
def test_every_claim_is_borne_out(quick):
    for claim in compatibility.CLAIMS:
        values = claim.values(quick)
        assert len(values) == 8
        assert claim.verdict(values) == "reproduced", claim.text
    assert last(quick).accuracy["plain decay"].min() > 0.95


@pytest.mark.slow
def test_claims_fail_where_there_is_nothing_to_find(quick):
    """With plain decay under every name, what should be harmless is, and nothing else holds."""
    decay = quick[quick.arm == "plain decay"]
    fake = pd.concat([decay.assign(arm=name) for name in quick.arm.unique()])
    verdicts = [claim.verdict(claim.values(fake)) for claim in compatibility.CLAIMS]
    assert verdicts == ["reproduced", "reproduced", "not", "not"]


@pytest.mark.parametrize(
    ("points", "verdict"),
    [
        ([0.1, -0.1, 0.2, 0.0], "reproduced"),
        ([3.0, -3.0, 2.0, -2.5], "partly"),  # measured too badly to say
        ([-3.0, -2.9, -3.1, -3.0], "not"),
        ([2.0, 2.1, 1.9, 2.0], "not"),
    ],
)
def test_no_difference_has_to_be_shown_and_is_not_assumed(points, verdict):
    arms = ("plain decay", "syre 0.01")
    rows = [
        {"arm": arm, "seed": seed, "step": 1, "accuracy": 0.9 + (arm != arms[0]) * value / 100}
        for arm in arms
        for seed, value in enumerate(points)
    ]
    claim = compatibility.CLAIMS[0]
    values = claim.values(pd.DataFrame(rows))
    assert values.tolist() == pytest.approx(points)
    assert claim.verdict(values) == verdict


def test_every_preset_has_the_arms_that_the_claims_read():
    for name, config in compatibility.PRESETS.items():
        arms = [arm.name for arm in compatibility.compared_arms(config)]
        assert len(set(arms)) == len(arms)
        wanted = {"syre 0.01", "syre 0.1", "syre 1 shifted", "bias added after 0.1", "plain decay"}
        assert wanted <= set(arms), name


def test_only_the_shifted_arm_changes_the_start_and_by_theta_0():
    config = compatibility.Config()
    model = sh.models.conv_net()
    params = {name: p.detach() for name, p in model.named_parameters()}
    arms = {arm.name: arm for arm in compatibility.compared_arms(config)}
    assert arms["syre 1"].start is None
    start = arms["syre 1 shifted"].start(params, 3)
    centre = arms["syre 1"].pull(params, 3, 0).centre
    for name, p in params.items():
        torch.testing.assert_close(start[name] - p, centre[name])


# ---- images ----------------------------------------------------------------------------------


def test_shifts_and_mirrors_are_those_of_the_generator():
    x = torch.randn(64, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    found = compatibility.shifted_and_mirrored(x, torch.Generator().manual_seed(1), reach=2)
    generator = torch.Generator().manual_seed(1)
    rows, columns = torch.randint(5, (2, 64, 1), generator=generator)[..., 0].tolist()
    mirrored = torch.randint(2, (64, 1), generator=generator)[:, 0].tolist()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    for k in range(64):
        part = padded[k, :, rows[k] : rows[k] + 6, columns[k] : columns[k] + 6]
        part = part[:, :, ::-1] if mirrored[k] else part
        assert np.array_equal(found[k].numpy(), part)
    assert 16 < sum(mirrored) < 48
    assert set(rows) == set(range(5))


def test_batches_depend_on_seed_and_step_only():
    split = fake_cifar(n_train=40)
    config = compatibility.Config(data="cifar10", augment=True, batch=8)
    forward = compatibility._Batches(split, config, 1)
    seen = [forward(step)[0] for step in range(12)]
    backward = compatibility._Batches(split, config, 1)
    for step in reversed(range(12)):
        assert torch.equal(backward(step)[0], seen[step])
    other = compatibility._Batches(split, config, 2)
    assert not torch.equal(other(0)[0], seen[0])


def test_rate_rises_then_falls_to_zero():
    rates = [compatibility._rate(done, 0.3) for done in (0.0, 0.15, 0.3, 0.65, 1.0)]
    assert rates == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])
    assert compatibility._rate(0.0, 0.0) == 1.0


# ---- the large presets -----------------------------------------------------------------------


def fake_cifar(n_train=None, n_test=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = n_train or 50_000, n_test or 10_000
    parts = []
    for n in sizes:
        parts.append(torch.randn(n, 3, 32, 32, generator=generator))
        parts.append(torch.randint(10, (n,), generator=generator))
    return sh.data.DataSplit(*parts)


@pytest.mark.parametrize(("preset", "loader"), [("paper", "cifar10"), ("cifar", "cifar10_jpeg")])
def test_a_killed_run_goes_on(preset, loader, tmp_path, monkeypatch):
    """On small false data and a short schedule: interrupted, run again, compared with one go."""
    monkeypatch.setattr(compatibility.data, loader, fake_cifar)
    config = experiments.configure(
        compatibility, preset, epochs=2, batch=8, n_train=24, n_test=12, width=1, seeds=1,
        sigma_ratios=(0.1,), shifted_ratios=(0.2,), fix_shares=(), sigmas=(0.1,),
    )  # fmt: skip
    whole = compatibility.run(config)
    assert set(whole.arm) == {
        "vanilla", "plain decay", "syre 0.1", "syre 0.2 shifted", "syre, sigma_0 = 0.1",
        "bias added after 0.1",
    }  # fmt: skip
    assert whole.step.max() == 6
    assert whole.accuracy.between(0, 1).all()
    taken = []
    advance = loop._Run.advance

    def interrupted(self, *arguments):
        taken.append(self.step)
        if len(taken) == 17:  # the third run, in its second epoch
            raise KeyboardInterrupt
        advance(self, *arguments)

    monkeypatch.setattr(loop._Run, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compatibility.run(config, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    resumed = compatibility.run(config, tmp_path)
    assert len(taken) - 17 == 36 - 12 - 3  # two runs were whole, one had taken an epoch
    pd.testing.assert_frame_equal(whole, resumed, check_exact=True)
    pd.testing.assert_frame_equal(whole, compatibility.run(config, tmp_path), check_exact=True)


def test_results_repeat_and_arms_of_a_seed_start_alike():
    config = dataclasses.replace(
        compatibility.Config(), epochs=1, seeds=2, sigma_ratios=(0.1,), fix_shares=()
    )
    first, again = compatibility.run(config), compatibility.run(config)
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    starts = first[(first.step == 0) & (first.arm != "syre 1 shifted")]
    assert (starts.groupby("seed").accuracy.nunique() == 1).all()
    assert starts.groupby("arm").test_loss.nunique().min() == 2


def test_each_preset_asks_for_its_own_data(monkeypatch):
    asked = []
    for name in ("cifar10", "cifar10_jpeg"):
        monkeypatch.setattr(
            compatibility.data, name, lambda *sizes, name=name: asked.append((name, *sizes))
        )
    for loader in ("cifar10", "cifar10_jpeg"):
        compatibility._load(compatibility.Config(data=loader, n_train=7))
    assert asked == [("cifar10", 7, None), ("cifar10_jpeg", 7, None)]
    assert compatibility.PRESETS["cifar"].data == "cifar10_jpeg"


# ---- the page --------------------------------------------------------------------------------


def table_of(record):
    """The differences to plain decay as a Markdown table."""
    final = last(record.table)
    lines = ["| arm | points against plain decay |", "| --- | ---: |"]
    for arm in record.table.arm.unique():
        if arm == "plain decay":
            continue
        values = compatibility._points(arm)(final)
        mean, low, high = map(signed, (values.mean(), *compatibility._interval(values)))
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
