"""Bad calls and bad command lines, each answered by an error that names argument, value, remedy.

Rows are made from small tables: public functions, their arguments, and kinds of bad values.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import syre_helpers as sh
from syre_helpers import arms, data, exercises, experiments, measures, models, plots, removal
from syre_helpers.__main__ import main

MATRIX = torch.eye(3)
MODEL = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
PARAMS = dict(MODEL.named_parameters())
DATA = (torch.ones(6, 3), torch.zeros(6, 2))
SWAP = sh.Reflection(lambda p: {"u": p["w"], "w": p["u"]})
PAIR = {"u": torch.tensor(1.0), "w": torch.tensor(2.0)}
TABLE = pd.DataFrame({"arm": "syre", "seed": [0, 1], "step": 1, "loss": [1.0, 2.0]})


class Row(NamedTuple):
    """A call, and words that the message of its TypeError or ValueError must hold."""

    name: str
    call: Any
    words: tuple[str, ...]


# ---- kinds of bad values -------------------------------------------------------------------------

NO_TENSORS = {
    "list": [[1.0, 2.0]],
    "ndarray": np.ones((2, 2)),
    "NoneType": None,
    "str": "x",
    "float": 1.0,
}
NO_MAPPINGS = {"Sequential": MODEL, "list": [MATRIX], "Tensor": MATRIX, "NoneType": None}
NO_MODELS = {"dict": PARAMS, "list": [MODEL], "NoneType": None, "str": "mlp"}
NO_FUNCTIONS = {"None": None, "'mse'": "mse", "3": 3}
NO_NUMBERS = (math.nan, -1.0, True, "1")
NO_FINITE_NUMBERS = (*NO_NUMBERS, math.inf)
NO_COUNTS = (0, -1, 2.5, True, "2", math.nan)
NO_INDICES = (1.0, "0", True, 9, -1)
NO_SEEDS = (1.5, "0", True, math.nan)


def each(function, arguments, values, make, *remedy):
    """Make a row for each argument and value; ``make(argument, value)`` makes the bad call."""
    named = (
        values.items() if isinstance(values, dict) else [(repr(value), value) for value in values]
    )
    for argument in arguments.split():
        for said, value in named:
            name = f"{function}({argument}={said})"
            yield Row(name, lambda a=argument, v=value: make(a, v), (argument, said, *remedy))


# ---- tables of public functions ------------------------------------------------------------------


def of_measures():
    one = {
        measures.effective_rank: "x",
        measures.stable_rank: "x",
        measures.numerical_rank: "x",
        measures.dead_fraction: "x",
        measures.duplicate_fraction: "weight",
        measures.active_latents: "means",
        measures.missing_fraction: "z",
        measures.dormant_ratio: "h",
        measures.srank: "h",
        measures.feature_rank: "h",
        measures.participation_ratio: "h",
        measures.alpha_req: "h",
        measures.squared_spectrum: "x",
    }
    for measure, argument in one.items():
        yield from each(
            measure.__name__, argument, NO_TENSORS, lambda a, v, f=measure: f(v), "torch.as_tensor"
        )
    for measure, tolerance in {
        measures.numerical_rank: "rtol",
        measures.dead_fraction: "tol",
        measures.duplicate_fraction: "tol",
        measures.active_latents: "threshold",
        measures.missing_fraction: "rtol",
        measures.dormant_ratio: "tau",
        measures.srank: "delta",
        measures.feature_rank: "epsilon",
    }.items():
        yield from each(
            measure.__name__,
            tolerance,
            NO_FINITE_NUMBERS,
            lambda a, v, f=measure: f(MATRIX, v),
            "must",
        )
    labels = torch.tensor([0, 1, 2])
    probe = {"train": MATRIX, "y_train": labels, "test": MATRIX, "y_test": labels}
    yield from each(
        "probe_accuracy", " ".join(probe), NO_TENSORS,
        lambda a, v: measures.probe_accuracy(**probe | {a: v}), "torch.as_tensor",
    )  # fmt: skip
    yield from each(
        "probe_accuracy", "ridge", NO_FINITE_NUMBERS,
        lambda a, v: measures.probe_accuracy(**probe, ridge=v), "must",
    )  # fmt: skip
    used = {"x": MATRIX, "weight": MATRIX, "bias": torch.zeros(3), "y": labels}
    yield from each(
        "used_directions", " ".join(used), NO_TENSORS,
        lambda a, v: measures.used_directions(**used | {a: v}), "torch.as_tensor",
    )  # fmt: skip
    yield from each(
        "used_directions", "tolerance", NO_FINITE_NUMBERS,
        lambda a, v: measures.used_directions(**used, tolerance=v), "must",
    )  # fmt: skip


def loss(params):
    return sum(p.square().sum() for p in params.values())


def of_states():
    """Functions of named parameters."""
    two = {"params_a": PARAMS, "params_b": PARAMS}
    yield from each(
        "loss_barrier", " ".join(two), NO_MAPPINGS,
        lambda a, v: sh.loss_barrier(loss, **two | {a: v}), "named_parameters()",
    )  # fmt: skip
    yield from each(
        "loss_barrier", "points", (2, -1, 2.5, True, "9", math.nan),
        lambda a, v: sh.loss_barrier(loss, PARAMS, PARAMS, points=v), "must",
    )  # fmt: skip
    yield from each(
        "loss_barrier", "loss_fn", NO_FUNCTIONS,
        lambda a, v: sh.loss_barrier(v, PARAMS, PARAMS), "must be a function",
    )  # fmt: skip
    yield from each(
        "escape_force", "loss_fn", NO_FUNCTIONS,
        lambda a, v: sh.escape_force(SWAP, v, PAIR), "must be a function",
    )  # fmt: skip
    yield from each(
        "degree_of_symmetry", "tol", NO_FINITE_NUMBERS,
        lambda a, v: sh.degree_of_symmetry([SWAP], PAIR, v), "must",
    )  # fmt: skip
    for name, call in {
        "escape_force": lambda v: sh.escape_force(SWAP, loss, v),
        "degree_of_symmetry": lambda v: sh.degree_of_symmetry([SWAP], v),
        "Reflection.__call__": SWAP,
        "Reflection.project": SWAP.project,
        "Reflection.nearest": SWAP.nearest,
        "Reflection.distance": SWAP.distance,
        "Reflection.rank": SWAP.rank,
        "Reflection.violation": lambda v: SWAP.violation(loss, v),
        "Syre.pull": lambda v: sh.Syre().pull(v),
    }.items():
        yield from each(
            name, "params", NO_MAPPINGS, lambda a, v, f=call: f(v), "named_parameters()"
        )
    bad_losses = {
        "shape (2,)": lambda p: torch.ones(2) * p["u"],
        "'str'": lambda p: "low",
        "None": lambda p: None,
    }
    for name, call in {
        "loss_barrier": lambda f: sh.loss_barrier(f, PAIR, PAIR),
        "escape_force": lambda f: sh.escape_force(SWAP, f, PAIR),
        "violation": lambda f: SWAP.violation(f, PAIR),
    }.items():
        for kind, function in bad_losses.items():
            said = kind.replace("'str'", "'low'")
            yield Row(
                f"{name}(loss_fn returns {kind})",
                lambda c=call, f=function: c(f),
                ("loss_fn", said, "scalar"),
            )
    yield Row(
        "escape_force(loss_fn without gradient)",
        lambda: sh.escape_force(SWAP, lambda p: torch.tensor(1.0), PAIR),
        ("loss_fn", "gradient", "params"),
    )


def of_reflections():
    yield from each(
        "permutation_reflection", "i j", NO_INDICES,
        lambda a, v: sh.permutation_reflection(MODEL, "0", **{"i": 2, "j": 2} | {a: v}),
    )  # fmt: skip
    yield from each(
        "sign_reflection", "i", NO_INDICES, lambda a, v: sh.sign_reflection(MODEL, "0", v)
    )
    vectors = {"u": torch.ones(3), "w": torch.ones(3)}
    for make in (sh.swap_reflection, sh.pair_sign_reflection):
        yield from each(
            make.__name__, "index", (1.0, "0", True, 9),
            lambda a, v, f=make: f("u", "w", v)(vectors),
        )  # fmt: skip
    for make in (sh.permutation_reflection, sh.sign_reflection):
        units = (0, 1) if make is sh.permutation_reflection else (0,)
        yield from each(
            make.__name__, "model", NO_MODELS, lambda a, v, f=make, u=units: f(v, "0", *u),
            "nn.Module",
        )  # fmt: skip
        yield from each(
            make.__name__, "layer", {"'first'": "first", "''": "", "3": 3, "None": None},
            lambda a, v, f=make, u=units: f(MODEL, v, *u), "layers with units are",
        )  # fmt: skip
    yield from each(
        "rotation_reflection",
        "n",
        {"NoneType": None, "str": "x", "float": 1.0},
        lambda a, v: sh.rotation_reflection("u", "w", v),
    )
    for argument, value in {"left_axis": 1.0, "right_axis": "0"}.items():
        yield from each(
            "rotation_reflection", argument, (value,),
            lambda a, v: sh.rotation_reflection("u", "w", torch.ones(3), **{a: v}), "int",
        )  # fmt: skip
    yield from each(
        "Reflection", "involution", NO_FUNCTIONS, lambda a, v: sh.Reflection(v), "function"
    )
    maps = {
        "own inverse": (lambda p: {"u": p["w"], "w": -p["u"]}, "applied twice"),
        "orthogonal": (lambda p: {"u": 2 * p["w"], "w": p["u"] / 2}, "multiplies the length"),
        "moves the origin": (lambda p: {"u": 1 - p["u"]}, "centre"),
        "params does not have": (lambda p: {"z": p["u"]}, "['z']"),
    }
    for said, (involution, value) in maps.items():
        for method in ("project", "nearest", "distance", "rank"):
            yield Row(
                f"Reflection({said}).{method}",
                lambda i=involution, m=method: getattr(sh.Reflection(i), m)(PAIR),
                ("involution", said, value),
            )


def sgd(params, **how):
    return torch.optim.SGD(params, lr=0.1, **how)


def attach_pull(pull, **change):
    arguments = {"optimizer": sgd(MODEL.parameters()), "model": MODEL} | change
    removal.attach_pull(pull, **arguments).remove()


def of_the_remedy():
    yield from each(
        "Syre", "weight_decay sigma_ratio sigma_0 sigma_D", NO_FINITE_NUMBERS,
        lambda a, v: sh.Syre(**{a: v}), "must",
    )  # fmt: skip
    yield from each("Syre", "seed", NO_SEEDS, lambda a, v: sh.Syre(seed=v), "must be an int")
    yield Row("Syre(sigma_D=1)", lambda: sh.Syre(sigma_D=1), ("sigma_D", "1", "below 1"))
    yield Row(
        "Syre(both)", lambda: sh.Syre(sigma_ratio=0.1, sigma_0=0.2),
        ("sigma_ratio=0.1", "sigma_0=0.2", "exclude"),
    )  # fmt: skip
    for name, call in {
        "attach": lambda v: sh.Syre().attach(sgd(MODEL.parameters()), v),
        "parametrize": lambda v: sh.Syre().parametrize(v),
        "penalty": lambda v: sh.Syre().penalty(v),
        "remove": lambda v: sh.Syre().remove(v),
        "effective_parameters": sh.effective_parameters,
        "attach_pull": lambda v: attach_pull(sh.Pull(0.1), model=v),
    }.items():
        yield from each(name, "model", NO_MODELS, lambda a, v, f=call: f(v), "nn.Module")
    no_optimizers = {
        "NoneType": None,
        "str": "sgd",
        "generator": (p for p in ()),
        "type": torch.optim.SGD,
    }
    yield from each(
        "attach", "optimizer", no_optimizers, lambda a, v: sh.Syre().attach(v, MODEL), "torch.optim"
    )
    yield from each(
        "attach_pull", "optimizer", no_optimizers,
        lambda a, v: attach_pull(sh.Pull(0.1), optimizer=v), "torch.optim",
    )  # fmt: skip
    yield from each(
        "attach_pull", "pull", {"float": 0.1, "Syre": sh.Syre(), "NoneType": None},
        lambda a, v: attach_pull(v), "Pull",
    )  # fmt: skip
    for name, call in {
        "attach": lambda v: sh.Syre().attach(sgd(MODEL.parameters()), MODEL, where=v),
        "penalty": lambda v: sh.Syre().penalty(MODEL, where=v),
        "attach_pull": lambda v: attach_pull(sh.Pull(0.1), where=v),
    }.items():
        yield from each(
            name, "where", {"'0.weight'": "0.weight", "3": 3}, lambda a, v, f=call: f(v), "function"
        )
    decaying = {"optimizer": sgd(MODEL.parameters(), weight_decay=0.1)}
    yield Row(
        "attach(decaying)", lambda: sh.Syre().attach(decaying["optimizer"], MODEL),
        ("optimizer", "weight_decay=0.1", "weight_decay=0"),
    )  # fmt: skip
    yield Row(
        "attach(other model)",
        lambda: sh.Syre().attach(sgd(MODEL.parameters()), nn.Linear(2, 2)),
        ("optimizer", "model", "pass"),
    )
    for name in ("bias", "metric"):
        yield from each(
            f"Syre.{name}", "tensor", NO_TENSORS,
            lambda a, v, n=name: getattr(sh.Syre(), n)("0.weight", v), "torch.as_tensor",
        )  # fmt: skip
    state = sh.Syre().state_dict()
    for said, bad in {
        "'seed'": {k: v for k, v in state.items() if k != "seed"},
        "'more'": state | {"more": 1},
        "nan": state | {"weight_decay": math.nan},
        "'0'": state | {"seed": "0"},
        "-1": state | {"scales": {"u": -1}},
        "list": [1],
        "NoneType": None,
    }.items():
        words = {"nan": "weight_decay", "'0'": "seed", "-1": "scale"}.get(said, "state")
        yield Row(
            f"load_state_dict({said})", lambda s=bad: sh.Syre().load_state_dict(s), (words, said)
        )
    yield from each("Pull", "weight_decay", NO_FINITE_NUMBERS, lambda a, v: sh.Pull(v), "must")
    yield from each(
        "Pull", "centre xi mask", NO_MAPPINGS, lambda a, v: sh.Pull(0.1, **{a: v}), "names"
    )
    yield from each(
        "around", "point", NO_MAPPINGS, lambda a, v: removal.around(sh.Pull(0.1), v), "names"
    )
    for part in ("centre", "xi", "mask"):
        yield Row(
            f"attach_pull({part} of another name)",
            lambda p=part: attach_pull(sh.Pull(0.1, **{p: {"head": MATRIX}})),
            (part, "'head'", "0.weight"),
        )
        yield Row(
            f"attach_pull({part} of another shape)",
            lambda p=part: attach_pull(sh.Pull(0.1, **{p: {"0.weight": MATRIX}})),
            (part, "(3, 3)", "(4, 3)"),
        )
        yield from each(
            f"attach_pull, {part}", part,
            {"list": {"0.weight": [1.0]}, "NoneType": {"0.weight": None}},
            lambda a, v: attach_pull(sh.Pull(0.1, **{a: v})), "torch.as_tensor",
        )  # fmt: skip


def of_arms():
    makers = {
        "weight_decay": (
            arms.plain_decay, arms.syre,
            lambda v: arms.weight_fix(0.1, v), arms.pull_to_start, arms.perturbed_once,
            arms.resampled_bias, arms.bias_added_after, lambda v: arms.metric_only(v, 0.1),
        ),
        "sigma_ratio": (
            arms.shift_only, lambda v: arms.syre(0.1, v), lambda v: arms.perturbed_once(0.1, v),
            lambda v: arms.resampled_bias(0.1, v), lambda v: arms.bias_added_after(0.1, v),
        ),
        "sigma_0": (lambda v: arms.syre(0.1, sigma_0=v),),
        "sigma_D": (lambda v: arms.syre(0.1, sigma_D=v), lambda v: arms.metric_only(0.1, v)),
        "fraction": (arms.weight_fix, lambda v: arms.weight_fix((0.1, v))),
        "scale": (
            lambda v: arms.pull_to_start(0.1, scale=v),
        ),
        "kappa": (
            lambda v: arms.weight_fix(0.1, kappa=v), lambda v: arms.weight_fix(0.1, kappa=(1, v)),
        ),
        "shrink": (lambda v: arms.shrink_and_perturb(v, 0.1, 5),),
        "perturb": (lambda v: arms.shrink_and_perturb(0.1, v, 5),),
        "tau": (lambda v: removal.redo(v, 5, len),),
    }  # fmt: skip
    for argument, functions in makers.items():
        for k, make in enumerate(functions):
            yield from each(
                f"arm {k}", argument, NO_FINITE_NUMBERS, lambda a, v, f=make: f(v), "must"
            )
    for k, make in enumerate(
        (
            lambda v: arms.shrink_and_perturb(0.1, 0.1, v),
            lambda v: arms.resampled_bias(0.1, every=v),
            lambda v: removal.redo(0.1, v, len),
        )
    ):
        yield from each(f"arm {k}", "every", NO_COUNTS, lambda a, v, f=make: f(v), "must")
    for argument, make in {
        "fraction": arms.weight_fix,
        "shrink": lambda v: arms.shrink_and_perturb(v, 0.1, 5),
        "sigma_D": lambda v: arms.syre(0.1, sigma_D=v),
    }.items():
        yield from each("arm", argument, (1.5, 10), lambda a, v, f=make: f(v), "must")


def fit(**change):
    arguments = {"steps": 2, "loss": nn.functional.mse_loss, "optimizer": sgd} | change
    model = arguments.pop("model", None)
    given = arguments.pop("data", DATA)
    if "model" not in change:
        model = nn.Linear(3, 2)
    return sh.fit(model, given, **arguments)


def fit_many(**change):
    arguments = {
        "make_model": lambda: nn.Linear(3, 2),
        "data": DATA,
        "arms": [arms.vanilla()],
        "seeds": [0],
        "steps": 2,
        "loss": nn.functional.mse_loss,
        "optimizer": sgd,
    } | change
    return sh.fit_many(**arguments)


def of_training():
    for function in (fit, fit_many):
        name = function.__name__

        def call(a, v, f=function):
            return f(**{a: v})

        yield from each(
            name, "steps batch_size log_every checkpoint_every", NO_COUNTS, call, "must"
        )
        yield from each(
            name, "log_every", {"3": [0, 3], "0.5": [0.5], "'1'": ["1"], "'2'": "2"}, call, "steps"
        )
        yield from each(name, "loss optimizer", NO_FUNCTIONS, call, "function")
        yield from each(name, "schedule", {"0.1": 0.1, "'cosine'": "cosine"}, call, "function")
        yield from each(name, "coupled", (1, "yes", None), call, "True or False")
        yield from each(name, "device", ("foo", 3.0, "cuda:x"), call, "cpu")
        yield from each(name, "measures", {"3": [3], "'norm'": "norm", "rank": {"rank": 3}}, call)
        yield from each(name, "callbacks", {"3": 3, "[0]=3": [3], "'p'": "print"}, call)
        yield from each(
            name, "measures",
            {column: {column: len} for column in ("arm", "method", "seed", "step", "train_loss")},
            call, "other names",
        )  # fmt: skip
        yield from each(
            name, "data",
            {"DataLoader": torch.utils.data.DataLoader([1]), "Tensor": MATRIX, "NoneType": None},
            call, "(x, y)",
        )  # fmt: skip
        yield from each(
            name, "data",
            {"list": ([1], DATA[1]), "ndarray": (np.ones((6, 3)), DATA[1]), "str": (DATA[0], "y")},
            call, "torch.as_tensor",
        )  # fmt: skip
        x, y = DATA
        yield from each(
            name, "data", {"5": (x[:5], y), "empty": (x[:0], y[:0]), "NaN": (x * math.nan, y),
            "y is None": (x, None), "(x, y)": (x,)}, call,
        )  # fmt: skip
        for said, bad in {
            "shape (6, 2)": lambda output, y: (output - y).square(),
            "None": lambda output, y: None,
            "1.5": lambda output, y: 1.5,
        }.items():
            yield from each(name, "loss", {said: bad}, call, "scalar")
        yield from each(
            name,
            "loss",
            {"gradient": lambda output, y: (output - y).detach().square().mean()},
            call,
        )
        for said, bad in {"0.1": {"weight_decay": 0.1}}.items():
            yield from each(
                name, "optimizer", {said: lambda p, b=bad: sgd(p, **b)}, call, "weight_decay=0"
            )
        yield from each(
            name, "optimizer", {"LBFGS": lambda p: torch.optim.LBFGS(p), "int": lambda p: 3}, call,
            "use one of",
        )  # fmt: skip
        yield from each(
            name, "schedule", {"nan": lambda t: math.nan, "-1": lambda t: -1}, call, "must"
        )
        yield from each(
            name, "measures",
            {
                "'norm'": {"norm": lambda p, predict: torch.ones(2)},
                "'word'": {"word": lambda p, predict: "high"},
            },
            call, "scalar",
        )  # fmt: skip
    yield from each("fit", "seed", NO_SEEDS, lambda a, v: fit(seed=v), "must be an int")
    yield from each("fit", "model", NO_MODELS, lambda a, v: fit(model=v), "nn.Module")
    yield from each(
        "fit",
        "arm",
        {"'syre'": "syre", "3": 3, "class": arms.syre},
        lambda a, v: fit(arm=v),
        "arms",
    )
    yield from each(
        "fit_many", "make_model",
        {"Sequential": MODEL, "NoneType": None, "str": lambda: "x", "dict": dict},
        lambda a, v: fit_many(make_model=v), "nn.Module",
    )  # fmt: skip
    yield from each(
        "fit_many", "seeds",
        {
            "3": 3, "[]": [], "[1, 1]": [1, 1], "0.5": [0.5], "'0'": ["0"], "True": [True],
            "None": None,
        },
        lambda a, v: fit_many(seeds=v),
    )  # fmt: skip
    yield from each(
        "fit_many", "arm", {"vanilla": arms.vanilla(), "[]": [], "'syre'": ["syre"], "3": [3]},
        lambda a, v: fit_many(arms=v),
    )  # fmt: skip
    yield Row(
        "fit_many(arms twice)",
        lambda: fit_many(arms=[arms.vanilla()] * 2),
        ("arms", "vanilla", "different"),
    )
    yield from each(
        "pick_device", "name", ("foo", "cuda:99", "gpu", 3),
        lambda a, v: sh.pick_device(v, quiet=True), "cpu",
    )  # fmt: skip
    yield from each(
        "seed_everything",
        "seed",
        (-1, 2**32, 1.5, "0", True),
        lambda a, v: sh.seed_everything(v),
        "must",
    )


def of_data_and_models():
    generated = {
        data.linear_regression: ("n_train n_test d", "noise", "seed"),
        data.teacher_regression: ("n_train n_test d units", "noise", "seed teacher_seed"),
    }
    for make, (counts, strengths, seeds) in generated.items():

        def call(a, v, f=make):
            return f(**{a: v})

        yield from each(make.__name__, counts, NO_COUNTS, call, "must")
        yield from each(make.__name__, strengths, NO_FINITE_NUMBERS, call, "must")
        yield from each(make.__name__, seeds, (*NO_SEEDS, -1), call, "must")
        yield from each(make.__name__, "dtype", (torch.int64, "float", None), call, "torch.float32")
    yield from each(
        "low_rank_matrix", "rows columns rank", NO_COUNTS,
        lambda a, v: data.low_rank_matrix(**{"rows": 4, "columns": 4, "rank": 2} | {a: v}), "must",
    )  # fmt: skip
    yield from each(
        "digits", "test_share", (0, 1, -1.0, 2.0, math.nan, "1"), lambda a, v: data.digits(0, v)
    )
    yield from each("digits", "seed", (*NO_SEEDS, -1), lambda a, v: data.digits(v), "must")
    yield from each(
        "teacher_regression",
        "activation",
        ("foo", 3, None),
        lambda a, v: data.teacher_regression(activation=v),
    )
    yield from each(
        "mlp", "activation", ("foo", 3, nn.Tanh()), lambda a, v: models.mlp([3, 2, 1], v)
    )
    yield from each(
        "mlp",
        "widths",
        {"[]": [], "[3]": [3], "3": 3, "'32'": "32", "0": [3, 0], "2.5": [3, 2.5]},
        lambda a, v: models.mlp(v),
    )
    for name, make in {
        "tie_units": lambda *a: models.tie_units(*a[:2], [a[2]]),
        "kill_units": models.kill_units,
    }.items():
        yield from each(name, "layer", ("first", "1"), lambda a, v, f=make: f(MODEL, v, [0, 1]))
        yield from each(
            name,
            "units" if name == "kill_units" else "groups",
            {"9": [9], "-1": [-1], "twice": [0, 0], "empty": []},
            lambda a, v, f=make: f(MODEL, "0", v),
        )
        yield from each(
            name,
            "units" if name == "kill_units" else "groups",
            {"1.0": [1.0], "'0'": ["0"]},
            lambda a, v, f=make: f(MODEL, "0", v),
        )
        yield from each(
            name, "model", NO_MODELS, lambda a, v, f=make: f(v, "0", [0, 1]), "nn.Module"
        )


def of_plots():
    functions = {
        "lines": lambda df, **how: plots.lines(df, **{"x": "step", "y": "loss"} | how),
        "strip": lambda df, **how: plots.strip(df, **{"value": "loss"} | how),
        "describe": lambda df, **how: plots.describe(df, **{"value": "loss"} | how),
    }
    for name, draw in functions.items():
        columns = {"lines": "x y arm seed"}.get(name, "value arm seed")
        for column in columns.split():
            yield Row(
                f"{name}({column} missing)", lambda d=draw, c=column: d(TABLE, **{c: "nothing"}),
                ("df", "'nothing'", "it has 'arm'"),
            )  # fmt: skip
        yield Row(f"{name}(empty)", lambda d=draw: d(TABLE[:0]), ("df", "empty", "check"))
        for bad in (math.nan, math.inf):
            yield Row(
                f"{name}({bad})",
                lambda d=draw, b=bad: d(TABLE.assign(loss=b)),
                ("df", "'loss'", "NaN"),
            )
        yield Row(
            f"{name}(text)",
            lambda d=draw: d(TABLE.assign(loss="low")),
            ("df", "'loss'", "'low'", "numbers"),
        )
        yield Row(
            f"{name}(several rows)",
            lambda d=draw: d(pd.concat([TABLE, TABLE])),
            ("df", "several rows", "variant"),
        )
        yield from each(
            name,
            "df",
            {"dict": {"arm": []}, "list": [1], "NoneType": None},
            lambda a, v, d=draw: d(v),
            "DataFrame",
        )
    for name in ("lines", "strip"):
        yield Row(
            f"{name}(spread)",
            lambda d=functions[name]: d(TABLE, spread="se"),
            ("spread='se'", "'sd'"),
        )
        yield Row(
            f"{name}(log)", lambda d=functions[name]: d(TABLE.assign(loss=-1.0), log=True),
            ("'loss'", "not positive", "log=False"),
        )  # fmt: skip
    for said, change in {
        "xlim=(2, 1)": {"xlim": (2, 1)},
        "ylim=(0, 0)": {"ylim": (0, 0)},
        "loss": {"loss": lambda u, w: u * math.nan},
        "paths['syre']": {"paths": {"syre": [1.0]}},
    }.items():
        yield Row(
            f"landscape({said})",
            lambda c=change: plots.landscape(
                **{"loss": lambda u, w: u * w, "xlim": (0, 1), "ylim": (0, 1)} | c
            ),
            (said, "must"),
        )


# Experiment, and bad values of its settings, with a word that says what would be right.
SETTINGS = {
    "dead_neurons": {
        "start": (("deda", None, 1), "generic"),
        "dead_share": ((5, -0.1, math.nan, "1", True), "must"),
        "momentum": ((9, 1, -1, math.nan, "1"), "must"),
        "steps": ((0, -1, 2.5, "9", True), "must"),
        "lr": ((-1, math.nan, math.inf, "1", True), "must"),
        "weight_decay": ((-1, math.nan, "1"), "must"),
        "device": (("foo", "cuda:x", 3, None), "cpu"),
        "seeds": ((0, -1, (), (1, 1), 1.5, (0.5,), "3", True), "must"),
        "sigma_ratios": ((0.1, (-1,), (math.nan,), ("1",)), "must"),
        "fix_shares": (((2,), (-0.5,)), "must"),
        "fix_kappas": ((1.0, (-0.5,)), "must"),
        "noise": ((-1, math.inf), "must"),
        "d": ((0, 1.5), "must"),
    },
    "plasticity": {
        "data": (("fashion_mnist", "foo"), "digits"),
        "optimizer": (("foo", "adam"), "adamw"),
        "tasks": ((0, -1, 1.5), "must"),
        "tuning_seeds": ((-1, 0.5), "must"),
        "lrs": (((0.1,), (0.1, -1)), "must"),
    },
    "simclr": {
        "data": (("foo", "imagenet"), "digits"),
        "optimizer": (("adamw",), "adam"),
        "temperature": ((0, -1, math.nan), "must"),
        "sigma_D": ((1, 2, -1), "must"),
        "hidden": ((64, (0,), (1.5,)), "must"),
        "ablation": ((1, "yes"), "True or False"),
        "measured": ((0,), "must"),
        "shift": ((-1, 0.5), "must"),
    },
    "mode_connectivity": {
        "network": (("foo", "vit"), "resnet18"),
        "points": ((2, 0, 2.5), "must"),
        "n_train": ((0, -1, 1.5, "9"), "must"),
        "anneal": ((0, None), "True or False"),
    },
    "supervised_collapse": {
        "model": (("foo",), "vit"),
        "decays": (((-1,), 0.1), "must"),
        "input_scale": ((0, -1), "must"),
    },
    "beta_vae": {"pixels": (("foo",), "unit"), "betas": (((-1,),), "must")},
    "linear_vae": {"dead": ((-1, 1.5), "must"), "beta": ((-1,), "must")},
    "identical_units": {"identical_share": ((2, -1), "must")},
    "compatibility": {
        "warmup": ((2,), "must"),
        "augment": ((1,), "True or False"),
        "epochs": ((0,), "must"),
    },
    "persistence": {"learned": ((2,), "must"), "rank": ((4,), "must")},
    "symmetry_degree": {"d": ((7,), "must"), "rates": (((1,),), "must")},
    "reinforcement": {
        "gamma": ((2,), "must"),
        "log_every": ((4, 0), "must"),
        "friction": (((0, 1), (1,)), "must"),
        "environment": ((3,), "must"),
    },
}  # fmt: skip


def of_experiments():
    for name, settings in SETTINGS.items():
        for setting, (values, remedy) in settings.items():
            # Of several numbers the message names the bad one, here the least.
            values = {repr(min(v) if isinstance(v, tuple) and v else v): v for v in values}
            yield from each(
                name, setting, values, lambda a, v, n=name: experiments.run(n, **{a: v}), remedy
            )
    yield Row("run(nothing)", lambda: experiments.run("nothing"), ("name='nothing'", "there are"))
    for name in experiments.names():
        yield Row(
            f"run({name}, preset)",
            lambda n=name: experiments.run(n, "huge"),
            ("preset='huge'", "quick"),
        )
        yield Row(
            f"run({name}, unknown)",
            lambda n=name: experiments.run(n, colour=1),
            ("'colour'", "seeds"),
        )
    yield from each("load", "name", (3, None, ["a"]), lambda a, v: experiments.load(v), "there are")
    config = experiments.load("dead_neurons").PRESETS["quick"]
    yield Row(
        "variants(unknown)", lambda: experiments.variants(config, colour=[1]), ("'colour'", "seeds")
    )
    yield from each(
        "variants", "lr", (0.1, [], "1"), lambda a, v: experiments.variants(config, lr=v), "list"
    )
    yield from each(
        "variants",
        "start",
        {"'deda'": ["deda"]},
        lambda a, v: experiments.variants(config, start=v),
        "generic",
    )
    yield from each(
        "split_seeds", "parts", NO_COUNTS, lambda a, v: experiments.split_seeds(config, v), "must"
    )


ROWS = [
    row
    for kind in (
        of_measures, of_states, of_reflections, of_the_remedy, of_arms, of_training,
        of_data_and_models, of_plots, of_experiments,
    )
    for row in kind()
]  # fmt: skip


# ---- command lines -------------------------------------------------------------------------------

# After ``run dead_neurons``, with words of the one line on stderr.
OPTIONS = {
    "--seeds 0": "--seeds=0 must be at least 1",
    "--seeds -3": "--seeds=-3 must be at least 1",
    "--jobs 0": "--jobs=0 must be at least 1",
    "--jobs -1": "--jobs=-1 must be at least 1",
    "--preset huge": "preset='huge' does not exist; there are quick",
    "--preset Quick": "preset='Quick' does not exist; there are quick",
    "--device foo": "--device: 'foo' is no device; use auto",
    "--device cuda:x": "--device: 'cuda:x' is no device; use auto",
    "--device cuda:99": "--device: 'cuda:99' is not there",
    "--out run.txt": "--out='run.txt' must end in .csv",
    "--out run": "--out='run' must end in .csv",
    "--out /dev/null/run.csv": "--out='/dev/null/run.csv' cannot be written",
    "--out /proc/run.csv": "--out='/proc/run.csv' cannot be written",
    "--checkpoints /dev/null": "--checkpoints='/dev/null",
    "--checkpoints /proc/kept": "--checkpoints='/proc/kept",
    "--set colour=red": "'colour' is no setting; there are",
    "--set =3": "'' is no setting; there are",
    "--set lr": "lr takes values like 0.02",
    "--set lr=": "lr takes values like 0.02",
    "--set lr=fast": "lr takes values like 0.02",
    "--set lr=-1": "lr=-1.0 must be a finite number >= 0",
    "--set lr=0.1,-1": "lr=-1.0 must be a finite number >= 0",
    "--set lr=(0.1,0.2)": "lr takes values like 0.02",
    "--set lr=[0.1]": "lr takes values like 0.02",
    "--set lr=None": "lr takes values like 0.02",
    "--set lr=1e999": "lr=inf must be a finite number >= 0",
    "--set steps=0": "steps: 0 must be a whole number, 1 or more",
    "--set steps=2.5": "steps takes values like",
    "--set steps=True": "steps takes values like",
    "--set steps=(1,2)": "steps takes values like",
    "--set momentum=9": "momentum=9.0 must be at least 0 and below 1",
    "--set momentum=1": "momentum=1.0 must be at least 0 and below 1",
    "--set dead_share=5": "dead_share=5.0 must lie between 0 and 1",
    "--set dead_share=-0.5": "dead_share=-0.5 must be a finite number >= 0",
    "--set weight_decay=-0.1": "weight_decay=-0.1 must be a finite number >= 0",
    "--set start=deda": "start takes one of dead, generic",
    "--set start=": "start takes one of dead, generic",
    "--set start=dead,deda": "start takes one of dead, generic",
    "--set data=foo": "'data' is no setting; there are",
    "--set seeds=3": "--seeds",
    "--set seeds=(1,1)": "--seeds",
    "--set device=foo": "--device",
    "--set lr=1 --set lr=2": "lr is set twice",
    "--set sigma_ratios=a": "sigma_ratios takes values like",
    "--set sigma_ratios=-0.1": "sigma_ratios=-0.1 must be a finite number >= 0",
    "--set sigma_ratios=(0.1,),a": "sigma_ratios takes values like",
    "--set fix_shares=2": "fix_shares=2.0 must lie between 0 and 1",
    "--set d=0": "d: 0 must be a whole number, 1 or more",
    "--set samples=-5": "samples: -5 must be a whole number, 1 or more",
    "--set noise=-1": "noise=-1.0 must be a finite number >= 0",
}
# Whole command lines.
COMMANDS = {f"run dead_neurons {given}": words for given, words in OPTIONS.items()} | {
    "run nothing": "name='nothing' is no experiment; there are",
    "run record": "name='record' is no experiment; there are",
    "run plasticity --set data=fashion_mnist": "data takes one of digits, mnist",
    "run plasticity --set optimizer=foo": "optimizer takes one of sgd, adamw",
    "run plasticity --set tasks=0": "tasks: 0 must be a whole number, 1 or more",
    "run plasticity --set lrs=0.1": "lrs takes values like 0.02,0.05",
    "run simclr --set data=foo": "data takes one of digits, mnist",
    "run simclr --set temperature=0": "temperature=0.0 must be above 0",
    "run simclr --set sigma_D=1": "sigma_D=1.0 must be at least 0 and below 1",
    "run simclr --set ablation=1": "ablation takes values like True",
    "run mode_connectivity --set network=foo": "network takes one of mlp, conv, resnet18",
    "run mode_connectivity --set points=2": "points=2 must be at least 3",
    "run compatibility --set warmup=2": "warmup=2.0 must lie between 0 and 1",
    "run identical_units --set identical_share=2": "identical_share=2.0 must lie between 0 and 1",
    "run linear_vae --set dead=-1": "dead: -1 must be a whole number, 0 or more",
    "run reinforcement --set log_every=4": "log_every=4 must divide rollouts=6",
}


@pytest.fixture
def nothing_runs(monkeypatch):
    """Fail where an experiment begins to train."""
    for name in experiments.names():
        monkeypatch.setattr(experiments.load(name), "run", None)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(("command", "words"), COMMANDS.items(), ids=COMMANDS)
def test_bad_command_line(capsys, command, words):
    assert main(command.split()) == 2
    said = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("device: ")]
    assert len(said) == 1
    assert words in said[0]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", "null", '{"settings": 3}', "\x00\x01"], ids=repr
)
def test_a_foreign_folder_of_checkpoints(tmp_path, capsys, content):
    (tmp_path / "run.json").write_text(content)
    assert main(["run", "dead_neurons", "--device", "cpu", "--checkpoints", str(tmp_path)]) == 2
    said = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("device: ")]
    assert len(said) == 1
    assert f"checkpoints={str(tmp_path)!r}" in said[0]
    assert "delete it" in said[0]
    assert (tmp_path / "run.json").read_text() == content


def test_an_error_of_the_machine_is_one_line(monkeypatch, capsys):
    def full(config, checkpoints):
        raise OSError(28, "No space left on device", "kept/run.pt")

    monkeypatch.setattr(experiments.load("dead_neurons"), "run", full)
    assert main(["run", "dead_neurons", "--device", "cpu"]) == 2
    assert "No space left on device: 'kept/run.pt'" in capsys.readouterr().err.splitlines()[-1]


# ---- exercises -----------------------------------------------------------------------------------

CHECKS = [name for name in dir(exercises) if name.startswith("check_")]
RUBBISH = {
    "text": "rubbish",
    "nan": math.nan,
    "inf": math.inf,
    "tensor": torch.full((3, 3), math.nan),
    "array": np.array(["rubbish"]),
    "mapping": {"a": [1, {}]},
    "list": [None, ...],
    "function": lambda *arguments: 1 / 0,
    "type": object,
    "object": object(),
    "bytes": b"1",
    "complex": 1j,
}


@pytest.mark.parametrize("check", CHECKS)
def test_rubbish_is_answered_by_every_exercise(check):
    for kind, answer in RUBBISH.items():
        verdict = getattr(exercises, check)(answer)
        assert not verdict, kind
        assert verdict.message, kind


def test_there_are_many():
    assert len(ROWS) + len(COMMANDS) >= 300


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_bad_call(row):
    with pytest.raises((TypeError, ValueError)) as caught:
        row.call()
    missing = [word for word in row.words if word not in str(caught.value)]
    assert not missing, str(caught.value)
