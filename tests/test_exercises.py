"""A check says what is wrong, keeps the answer to itself, and never raises, whatever it gets."""

from __future__ import annotations

import inspect
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syre_helpers import exercises
from syre_helpers.exercises import Verdict, check_choice, check_function, check_number

NOT_ANSWERED = "No answer yet: replace the … above."
ODD_ANSWERS = [
    "text", "", float("nan"), float("inf"), -1, 10**400, 1 + 2j, True, object(), object, print,
    b"x",
    [], [1, 2], {}, {"a": 1}, set(), {1}, np.zeros(3), np.array([]), np.array("x"), torch.zeros(()),
    torch.zeros(2, 2), torch.tensor([]), torch.tensor(True), torch.nn.Linear(1, 1), range(3),
    lambda: None, lambda *a, **k: 1 / 0, lambda *a: torch.zeros(3), lambda *a: None, lambda *a: {},
    lambda *a: np.zeros((2, 2)), lambda *a: "x", lambda *a: torch.tensor([True, False]),
]  # fmt: skip


def tells(verdict, *parts):
    assert isinstance(verdict, Verdict)
    assert not verdict
    for part in parts:
        assert part in verdict.message, verdict.message


# ---- the verdict -------------------------------------------------------------------------------


def test_verdict_in_text_and_on_the_page():
    good, bad, none = (
        Verdict(True, "Both."),
        Verdict(False, "a < b"),
        check_number(..., 1, what="x"),
    )
    assert (bool(good), bool(bad), bool(none)) == (True, False, False)
    assert (repr(good), repr(bad), repr(none)) == ("Right. Both.", "Not yet. a < b", NOT_ANSWERED)
    assert 'class="syre-verdict" data-ok="true"' in good._repr_html_()
    assert 'class="syre-verdict" data-ok="false"' in bad._repr_html_()
    assert "a &lt; b" in bad._repr_html_()
    assert "Not yet" not in none._repr_html_()


@pytest.mark.parametrize("nothing", [..., None])
def test_no_answer_yet(nothing):
    for verdict in (
        check_number(nothing, 3, what="x"),
        check_choice(nothing, "a", ["a", "b"]),
        check_function(nothing, abs, [(1,)]),
    ):
        assert not verdict
        assert verdict.message == NOT_ANSWERED


@pytest.mark.parametrize("answer", ODD_ANSWERS, ids=lambda a: f"{a!r:.20}")
def test_odd_answers_raise_nothing(answer):
    assert isinstance(check_number(answer, 3, what="x", hints=[(lambda v: v > 2, "hm")]), Verdict)
    assert isinstance(check_choice(answer, "a", ["a", "b"]), Verdict)
    assert isinstance(check_choice(answer, {"a", "b"}, ["a", "b", "c"]), Verdict)
    for wanted in (2.0, torch.zeros(2), {"w": torch.zeros(2)}, (1, 2), True, "x", np.zeros(2)):
        verdict = check_function(answer, lambda x, w=wanted: w, [(torch.ones(2),)])
        assert isinstance(verdict, Verdict)


# ---- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        20,
        20.1,
        Fraction(20),
        np.float32(20),
        np.array([20]),
        torch.tensor(20.0, requires_grad=True),
    ],
)
def test_numbers_of_any_kind(answer):
    verdict = check_number(answer, 20, what="The rank", right="Ten a unit.")
    assert verdict
    assert verdict.message == "Ten a unit."


@given(answer=st.floats(allow_nan=False), expected=st.floats(-1e6, 1e6))
def test_number_is_right_within_the_tolerance_only(answer, expected):
    verdict = check_number(answer, expected, what="x", rtol=0.01, atol=1e-3)
    assert bool(verdict) == (abs(answer - expected) <= 1e-3 + 0.01 * abs(expected))
    assert str(bool(verdict)) in ("True", "False")


def test_hints_come_in_order_and_say_nothing_of_the_answer():
    hints = [
        (10, "You counted one of the two units."),
        (lambda v: v < 0, "A rank is never negative."),
        (lambda v: v < 15, "Small."),
    ]
    ask = {"expected": 20, "what": "The rank", "hints": hints}
    tells(check_number(10.01, **ask), "one of the two")
    tells(check_number(-3, **ask), "never negative")
    tells(check_number(11, **ask), "Small")
    tells(check_number(21, **ask), "The rank is not 21", "too high")
    tells(check_number(19, **ask), "too low")
    for answer in (10, -3, 11, 21, 19, "20", math.nan, [20]):
        if answer not in ("20",):
            assert "20" not in check_number(answer, **ask).message


def test_wrong_kinds_are_named():
    tells(check_number("20", 20, what="The rank"), "text", "quotes")
    tells(check_number(math.nan, 20, what="The rank"), "NaN")
    tells(check_number(torch.zeros(2), 20, what="The rank"), "shape (2,)")
    tells(check_number([20], 20, what="The rank"), "type list")
    tells(check_number(True, 1, what="The rank"), "type bool")
    tells(check_number(lambda: 20, 20, what="The rank"), "function", "Call it")
    tells(check_number(math.inf, 20, what="The rank"), "inf")


# ---- choices -----------------------------------------------------------------------------------


def test_one_choice():
    ask = {"correct": "a", "choices": ["a", "b", "c"], "messages": {"b": "ReLU is not odd."}}
    assert check_choice(" A ", **ask)
    assert check_choice(["a"], **ask)
    tells(check_choice("b", **ask), "ReLU is not odd.")
    tells(check_choice("c", **ask), "It is not c.")
    tells(check_choice("d", **ask), "'d' is not among the choices: a, b, c")
    tells(check_choice(["a", "b"], **ask), "Choose one")
    tells(check_choice(7, **ask), "7 is not among")


def test_several_choices():
    ask = {"correct": {"a", "c"}, "choices": ["a", "b", "c", "d"], "messages": {"c": "And tanh?"}}
    for answer in (["a", "c"], ("c", "a"), {"C", "a"}):
        assert check_choice(answer, **ask)
    tells(check_choice("a", **ask), "And tanh?")
    tells(check_choice(["c"], **ask), "something is missing")
    tells(check_choice(["a", "b", "c"], **ask), "b is not right")


# ---- functions ---------------------------------------------------------------------------------


def swap(params):
    return {"u": params["w"], "w": params["u"]}


CASES = [({"u": torch.tensor([1.0, 2.0]), "w": torch.tensor([3.0, 4.0])},)]


def test_right_function():
    assert check_function(swap, swap, CASES, right="An involution.").message == "An involution."
    assert check_function(lambda x: np.asarray(x) * 2, lambda x: x * 2, [(torch.ones(3),)])
    assert check_function(lambda x: torch.tensor(x > 1), lambda x: x > 1, [(1.0,), (2.0,)])


def test_what_is_wrong_with_a_function():
    def ask(function):
        return check_function(function, swap, CASES, what="The swap")

    tells(ask(swap(CASES[0][0])), "should be a function", "dict")
    tells(ask(lambda p: None), "returns None", "return")
    tells(ask(lambda p: ...), "returns Ellipsis")
    tells(ask(lambda p: p["v"]), "stops for", "KeyError: 'v'", "[1.0, 2.0]")
    tells(ask(lambda: 1), "stops for", "TypeError")
    tells(ask(lambda p: p["u"]), "a Tensor", "mapping")
    tells(ask(lambda p: {"u": p["w"]}), "without 'w'")
    tells(ask(lambda p: {**swap(p), "x": 1}), "names too many")
    tells(ask(lambda p: {"u": p["w"], "w": 0}), "a int, and a tensor", "at 'w'")
    tells(ask(lambda p: {"u": p["w"], "w": p["u"][:1]}), "shape (1,), and (2,)", "at 'w'")
    tells(
        ask(lambda p: {"u": p["w"], "w": p["u"] * torch.tensor([1, -1])}), "1 wrong of 2", "index 1"
    )
    tells(ask(lambda p: {"u": p["w"], "w": p["u"] / 0 * 0}), "NaN")


def test_function_that_changes_its_input():
    def in_place(params):
        params["u"].add_(1)
        return swap({"u": params["u"] - 1, "w": params["w"]})

    tells(check_function(in_place, swap, CASES), "changes what it is given", "copy")
    assert CASES[0][0]["u"].tolist() == [1, 2]


def test_cases_are_tried_in_order_and_named():
    def wrong(x):
        if x < 0:
            raise RuntimeError("negative\nsecond line")
        return x

    cases = {"a positive number": (4.0,), "a negative one": (-4.0,)}
    tells(check_function(wrong, lambda x: x, cases), "a negative one", "RuntimeError: negative")
    assert "second line" not in check_function(wrong, lambda x: x, cases).message
    tells(check_function(lambda x: -x, lambda x: x, cases), "a positive number", "-4", "too low")
    tells(check_function(lambda x: (x,), lambda x: (x, x), cases), "1 values, and 2")
    tells(check_function(lambda x: x, lambda x: (x, x), cases), "2 values are wanted")
    tells(check_function(lambda x: "4", lambda x: x, cases), "no number (str)")
    tells(check_function(lambda x: 0, lambda x: x > 0, cases), "0, which is not right")


def test_hints_recognise_a_usual_mistake():
    hints = [(lambda x: x, "Not the identity."), (lambda x: -x, "The sign is turned around.")]

    def ask(function):
        return check_function(function, lambda x: 2 * x, [(1.0,), (2.0,)], hints=hints)

    tells(ask(lambda x: -x), "The sign is turned around.")
    tells(ask(lambda x: x), "identity")
    tells(ask(lambda x: -x if x > 1 else x), "goes wrong for (1.0)")
    assert ask(lambda x: x + x)


def test_modules_may_be_arguments():
    layer = torch.nn.Linear(2, 3)
    verdict = check_function(
        lambda m: sum(p.numel() for p in m.parameters()), lambda m: 9, {"a layer": (layer,)}
    )
    assert verdict


# ---- the chapters' checks ----------------------------------------------------------------------

CHECKS = [name for name in dir(exercises) if name not in exercises.__all__]


def test_unknown_names_are_told_apart():
    with pytest.raises(AttributeError, match="did you mean check_number"):
        _ = exercises.check_numbr
    with pytest.raises(AttributeError, match="no attribute 'nothing_like_it'"):
        _ = exercises.nothing_like_it
    assert set(exercises.__all__) <= set(dir(exercises))
    assert not hasattr(exercises, "_private")


def test_checks_are_found_by_chapter(tmp_path, monkeypatch):
    (tmp_path / "invented.py").write_text("def check_invented_thing(answer):\n    return answer\n")
    monkeypatch.setattr(exercises, "__path__", [*exercises.__path__, str(tmp_path)])
    assert exercises.check_invented_thing(3) == 3
    assert "check_invented_thing" in dir(exercises)
    with pytest.raises(AttributeError, match="did you mean check_invented_thing"):
        _ = exercises.check_invented_things


@pytest.mark.parametrize("chapter", exercises.chapters())
def test_names_of_checks_say_their_chapter(chapter):
    module = __import__(f"syre_helpers.exercises.{chapter}", fromlist=["x"])
    own = [
        name
        for name, value in vars(module).items()
        if name.startswith("check_") and getattr(value, "__module__", "") == module.__name__
    ]
    assert own
    assert all(name.startswith(f"check_{chapter}_") for name in own)


@pytest.mark.parametrize("name", CHECKS)
def test_checks_of_chapters_bear_every_answer(name):
    check = getattr(exercises, name)
    count = len(
        [
            p
            for p in inspect.signature(check).parameters.values()
            if p.default is inspect.Parameter.empty
        ]
    )
    assert not check(*[...] * count)
    for answer in ODD_ANSWERS:
        assert isinstance(check(*[answer] * count), Verdict)
