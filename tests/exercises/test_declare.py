"""A check says what is wrong, keeps the answer to itself, and never raises, whatever it gets."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syre_helpers import exercises
from syre_helpers.exercises import Choice, Function, Mistake, Number, Verdict

NOT_ANSWERED = "No answer yet: replace the … above."


def tells(verdict, *parts):
    assert isinstance(verdict, Verdict)
    assert not verdict
    for part in parts:
        assert part in verdict.message, verdict.message


def number(right=20.0, **settings):
    settings = {"mistakes": {"You counted one of the two units.": (10, 11)}, **settings}
    return Number(what="The rank", praise="Ten per unit.", right=right, **settings)


def function(right, cases, **settings):
    settings = {"what": "The swap", "praise": "An involution.", "mistakes": {}, **settings}
    return Function(right=right, cases=cases, **settings)


def test_verdict_in_text_and_on_the_page():
    good, bad, none = Verdict(True, "Both."), Verdict(False, "a < b"), number()(...)
    assert (bool(good), bool(bad), bool(none)) == (True, False, False)
    assert (repr(good), repr(bad), repr(none)) == ("Right. Both.", "Not yet. a < b", NOT_ANSWERED)
    assert 'class="syre-verdict" data-ok="true"' in good._repr_html_()
    assert 'class="syre-verdict" data-ok="false"' in bad._repr_html_()
    assert "a &lt; b" in bad._repr_html_()
    assert "Not yet" not in none._repr_html_()


def test_a_function_as_the_page_gives_it_is_no_answer():
    def swap(params, i): ...

    def answered(params, i):
        return

    def docstring(params, i):
        """Of a reader who has begun."""

    check = function(lambda p, i: p, [(1.0, 0)])
    assert repr(check(swap)) == NOT_ANSWERED
    assert 'data-ok="none"' in check(swap)._repr_html_()
    tells(check(docstring), "returns None")
    assert not check(answered)


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
    assert number()(answer) == Verdict(True, "Ten per unit.")
    assert repr(number()) == "Number('The rank')"


@given(answer=st.floats(allow_nan=False), right=st.floats(-1e6, 1e6))
def test_number_is_right_within_the_tolerance_only(answer, right):
    verdict = number(right, rtol=0.01, atol=1e-3, mistakes={})(answer)
    assert bool(verdict) == (abs(answer - right) <= 1e-3 + 0.01 * abs(right))


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        (10.01, ["one of the two"]),
        (11, ["one of the two"]),
        (21, ["The rank is not 21", "too high"]),
        (19, ["too low"]),
        (math.inf, ["inf"]),
        (math.nan, ["NaN"]),
        ([20], ["type list"]),
        (torch.zeros(2), ["shape (2,)"]),
        (True, ["type bool"]),
        (lambda: 20, ["function", "Call it"]),
    ],
)
def test_wrong_numbers_and_kinds(answer, parts):
    verdict = number()(answer)
    tells(verdict, *parts)
    assert "20" not in verdict.message


def test_several_right_numbers_are_told_apart():
    wait = number({"exact": 350.08, "first-order": 333.3, "measured": 352.0}, rtol=0.05)
    for answer, kind in ((350, "exact"), (320, "first-order"), (360, "measured")):
        verdict = wait(answer)
        assert verdict
        assert "exact 350.1, first-order 333.3, measured 352." in verdict.message
        assert f"Yours is nearest to the {kind} one." in verdict.message
    tells(wait(400), "too high")
    tells(wait(300), "too low")


# ---- choices -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [["a", "c"], ("c", "a"), {"C", "a"}, "ac", "A, C", "a and c", "{'a', 'c'}", " c;a "]
)
def test_right_choices(answer):
    assert odd(answer) == Verdict(True, "f(-x) is -f(x).")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (["c"], "And tanh?"),
        ("abc", "ReLU is not odd."),
        ([], "And tanh?"),
        (["a", "tanh"], "'tanh' is not among"),
        (7, "7 is not among"),
        ("", "'' is not among"),
    ],
)
def test_wrong_choices(answer, words):
    tells(odd(answer), words)


odd = Choice(
    what="The odd activations",
    right="ac",
    praise="f(-x) is -f(x).",
    messages={"a": "And tanh?", "b": "ReLU is not odd.", "c": "And the sine?"},
)


# ---- functions ---------------------------------------------------------------------------------

STATE = {"u": torch.tensor([1.0, 2.0]), "w": torch.tensor([3.0, 4.0])}


def swap(params):
    return {"u": params["w"], "w": params["u"]}


def in_place(params):
    params["u"].add_(1)
    return swap({"u": params["u"] - 1, "w": params["w"]})


@pytest.mark.parametrize(
    ("answer", "right", "case"),
    [
        (swap, swap, STATE),
        (lambda x: np.asarray(x) * 2, lambda x: x * 2, torch.ones(3)),
        (lambda x: torch.tensor(x > 1), lambda x: x > 1, 2.0),
        (lambda x: [1, x], lambda x: (1, x), 2.0),
        (lambda m: sum(p.numel() for p in m.parameters()), lambda m: 9, torch.nn.Linear(2, 3)),
    ],
)
def test_right_functions(answer, right, case):
    assert function(right, {"a case": (case,)})(answer) == Verdict(True, "An involution.")


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        (swap(STATE), ["should be a function", "dict"]),
        (lambda p: None, ["returns None", "end with a return"]),
        (lambda p: ..., ["returns Ellipsis"]),
        (lambda p: p["v"], ["stops for", "KeyError: 'v'", "[1.0, 2.0]"]),
        (lambda: 1, ["stops for", "TypeError"]),
        (lambda p: p["u"], ["a Tensor", "mapping"]),
        (lambda p: {"u": p["w"]}, ["without 'w'"]),
        (lambda p: {**swap(p), "x": 1}, ["names too many"]),
        (lambda p: {"u": p["w"], "w": 0}, ["a int, and a tensor", "at 'w'"]),
        (lambda p: {"u": p["w"], "w": p["u"][:1]}, ["shape (1,), and (2,)", "at 'w'"]),
        (lambda p: {"u": p["w"], "w": p["u"] * torch.tensor([1, -1])}, ["1 wrong of 2", "index 1"]),
        (lambda p: {"u": p["w"], "w": p["u"] / 0 * 0}, ["NaN"]),
        (in_place, ["changes what it is given", "copy"]),
    ],
)
def test_what_is_wrong_with_a_function(answer, parts):
    tells(function(swap, [(STATE,)])(answer), *parts)
    assert STATE["u"].tolist() == [1, 2]


def negative_stops(x):
    if x < 0:
        raise RuntimeError("negative\nsecond line")
    return x


@pytest.mark.parametrize(
    ("answer", "right", "parts"),
    [
        (negative_stops, lambda x: x, ["a negative one: RuntimeError: negative"]),
        (lambda x: -x, lambda x: x, ["a positive number", "-4", "too low"]),
        (lambda x: (x,), lambda x: (x, x), ["1 values, and 2"]),
        (lambda x: x, lambda x: (x, x), ["2 values are wanted"]),
        (lambda x: "4", lambda x: x, ["a str, and a number is wanted"]),
        (lambda x: torch.ones(2, 3), lambda x: x, ["a Tensor of shape (2, 3), and a number"]),
        (lambda x: 0, lambda x: x > 0, ["0, which is not right"]),
    ],
)
def test_cases_are_tried_in_order_and_named(answer, right, parts):
    cases = {"a positive number": (4.0,), "a negative one": (-4.0,)}
    verdict = function(right, cases)(answer)
    tells(verdict, *parts)
    assert "second line" not in verdict.message


def test_functions_that_make_a_usual_mistake_in_all_cases():
    mistakes = {
        "Not the identity.": (lambda x: x, lambda x: x + 1),
        "The sign is turned around.": lambda x: -x,
    }
    double = function(lambda x: 2 * x, [(1.0,), (2.0,)], mistakes=mistakes)
    tells(double(lambda x: -x), "The sign is turned around.")
    tells(double(lambda x: x), "identity")
    tells(double(lambda x: 1 + x), "identity")
    tells(double(lambda x: -x if x > 1 else x), "goes wrong for (1.0)")


def test_a_view_is_what_is_compared():
    def size(returned, x):
        if returned == 0:
            raise Mistake("Zero has no sign.")
        return abs(returned) + 0 * x

    root = function(lambda x: x**0.5, [(4.0,)], view=size)
    assert root(lambda x: -(x**0.5))
    tells(root(lambda x: 0), "Zero has no sign.")
    tells(root(lambda x: "2"), "stops for (4.0): TypeError")


# ---- the chapters' checks ----------------------------------------------------------------------


def test_unknown_names_are_told_apart():
    with pytest.raises(AttributeError, match="did you mean check_permutation_count"):
        _ = exercises.check_permutation_coun
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
