"""One table goes through all exercises of all chapters: answers right and wrong, and the words."""

import ast
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

import syre_helpers as sh
from syre_helpers import exercises
from syre_helpers.exercises import Choice, Function, Number, Verdict
from syre_helpers.exercises.permutation import PLANES, RANK

BOOK = Path(__file__).parents[2] / "book"
CHECKS = {name: getattr(exercises, name) for name in dir(exercises) if name.startswith("check_")}
THREE = {"w": torch.tensor(3.0, dtype=torch.float64)}
ODD_ANSWERS = [
    "text", "", float("nan"), float("inf"), 10**400, 1 + 2j, True, object(), object, print, b"x",
    [], {}, {"a": 1}, set(), {1}, np.zeros(3), np.array([]), np.array("x"), torch.zeros(2, 2),
    torch.tensor([]), torch.tensor(True), torch.nn.Linear(1, 1), range(3),
    lambda: 0, lambda *a, **k: 1 / 0, lambda *a: torch.zeros(3), lambda *a: None, lambda *a: {},
    lambda *a: np.zeros((2, 2)), lambda *a: "x", lambda *a: torch.tensor([True, False]),
]  # fmt: skip


def each(thing):
    if isinstance(thing, Mapping):
        return list(thing.values())
    return thing if isinstance(thing, tuple) else (thing,)


def usual_mistakes():
    for name, check in CHECKS.items():
        if isinstance(check, Choice):
            for letter, words in check.messages.items():
                yield name, set(check.right) ^ {letter}, words
        for words, wrong in getattr(check, "mistakes", {}).items():
            yield from ((name, one, words) for one in each(wrong))
    for words, wrong in RANK.mistakes.items():
        yield "check_permutation_count", (wrong, PLANES.right), words
    for words, wrong in PLANES.mistakes.items():
        yield "check_permutation_count", (RANK.right, wrong), words


@pytest.mark.parametrize("name", CHECKS)
def test_right_answers(name):
    check = CHECKS[name]
    several = isinstance(check, Number) and isinstance(check.right, Mapping)
    for right in each(check.right) if several else [check.right]:
        verdict = check(right)
        assert verdict, verdict
        assert check.praise in verdict.message


@pytest.mark.parametrize(("name", "wrong", "words"), list(usual_mistakes()))
def test_each_usual_mistake_gets_its_words(name, wrong, words):
    assert CHECKS[name](wrong) == Verdict(False, words)


@pytest.mark.parametrize("name", CHECKS)
def test_no_answer_and_wrong_kinds(name):
    check = CHECKS[name]
    for nothing in (..., None):
        assert repr(check(nothing)) == "No answer yet: replace the … above."
    kinds = {Number: "is text", Choice: "not among the choices", Function: "is text"}
    assert kinds.get(type(check), "should be a") in check("three").message
    for answer in ODD_ANSWERS:
        verdict = check(answer)
        assert isinstance(verdict, Verdict)
        assert not verdict, answer


@pytest.mark.parametrize("name", [n for n, check in CHECKS.items() if isinstance(check, Number)])
def test_no_words_give_the_number_away(name):
    check = CHECKS[name]
    for right in each(check.right):
        if right >= 10 or right % 1:
            pattern = rf"(?<![\d.]){re.escape(f'{right:.6g}')}(?!\d)"
            assert not re.search(pattern, " ".join(check.mistakes))


def scaled(first, second):
    factors = torch.tensor([first, second, 1, 1], dtype=torch.float64)
    return lambda p: {**p, "2.weight": p["2.weight"] * factors}


def flipped(p):
    signs = torch.tensor([1, -1, 1, 1], dtype=torch.float64)
    incoming = {"0.weight": p["0.weight"] * signs[:, None], "0.bias": p["0.bias"] * signs}
    return {**p, **incoming, "2.weight": p["2.weight"] * signs}


def in_place(p):
    p["2.weight"][:, 0] *= 2
    p["2.weight"][:, 1] *= 0
    return p


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("permutation_count", (31, 100), "too low"),
        ("permutation_count", (31, "many"), "text"),
        ("permutation_count", (31, ...), "No answer yet"),
        ("permutation_count", 31, "pair of numbers"),
        ("permutation_count", (31, 2016, 1), "pair of numbers"),
        ("permutation_part_twins", lambda p: p, "still identical"),
        ("permutation_part_twins", scaled(1.5, 1), "outputs change"),
        ("permutation_part_twins", flipped, "mirror images"),
        ("permutation_part_twins", in_place, "work on a copy"),
        ("permutation_part_twins", lambda p: {"0.bias": p["0.bias"]}, "without '0.weight'"),
        ("permutation_part_twins", lambda p: {**p, "0.bias": p["0.bias"][:1]}, "shape"),
        ("permutation_part_twins", lambda p: p["2.weight"], "a mapping"),
        ("rotation_nearest_plane", lambda u, v: torch.linalg.svd(u @ v)[2][-1], "singular vectors"),
        ("rotation_nearest_plane", lambda u, v: torch.linalg.svd(u @ v)[0][:, -1], "stack U on V"),
        ("rotation_nearest_plane", lambda u, v: torch.eye(4), "must have shape (4,)"),
        ("rotation_nearest_plane", lambda u, v: 2 * v[:, 0], "length 1"),
        ("rotation_nearest_plane", lambda u, v: v[:, 0].tolist(), "a list"),
        ("continuous_symmetries_survivor", lambda u, v: 0 * u[0], "Zero is no direction"),
        ("continuous_symmetries_survivor", lambda u, v: 2 * u[0], "divide it by its norm"),
        ("continuous_symmetries_survivor", lambda u, v: u[:, 0], "n should have shape"),
        ("reflections_centre", sh.Reflection(lambda p: {"u": p["v"]}), "stops: ValueError"),
        ("why_training_falls_in_longer_plateau", 1e9, "too high"),
        # Both factors of the step, in one product, after 1 + xi was formed.
        (
            "syre_advanced_step",
            lambda p, g, t, xi, lr, wd: p - lr * g - lr * wd * ((1 + xi) * (p - t)),
            "float32 cannot tell",
        ),
    ],
)
def test_words_of_judges(name, answer, words):
    verdict = CHECKS[f"check_{name}"](answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("involution", "centre", "words"),
    [
        (lambda p: {"u": -p["u"], "w": -p["w"]}, {}, "stands at the origin"),
        (lambda p: {"u": -p["u"], "w": -p["w"]}, {"w": -THREE["w"]}, "at another place"),
        (lambda p: {"u": -p["u"]}, THREE, "flip both"),
        (lambda p: {"u": p["w"], "w": p["u"]}, THREE, "of rank 1"),
        (lambda p: {"u": p["w"], "w": -p["u"]}, THREE, "Done twice"),
        # An affine map, though the right one; and one that keeps the loss, but no lengths.
        (lambda p: {"u": -p["u"], "w": 6 - p["w"]}, {}, "stops: ValueError: involution"),
        (lambda p: {"u": 2 * p["w"], "w": p["u"] / 2}, THREE, "stops: ValueError: involution"),
    ],
)
def test_words_for_reflections(involution, centre, words):
    verdict = exercises.check_reflections_centre(sh.Reflection(involution, centre))
    assert not verdict
    assert words in verdict.message


def solutions():
    """Yield the names of checks in the book, with the cells of the page up to the solution."""
    for page in sorted(BOOK.glob("*/*.ipynb")):
        cells = json.loads(page.read_text())["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        for k, source in enumerate(sources):
            if source.startswith("# Solution"):
                yield re.search(r"check_\w+", source)[0], sources[:k], source


def names_of(sources):
    """Return the names that a page's imports and functions define, without what else it runs."""
    names = {}
    for source in sources:
        for node in ast.parse(re.sub(r"(?m)^(\s*)(?:%(?=[a-z])|!(?!=)).*", r"\1pass", source)).body:
            if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef)):
                with suppress(NameError):  # a default value that the page computes
                    exec(ast.unparse(node), names)
    return names


@pytest.mark.parametrize(
    ("before", "solution"), [pytest.param(*rest, id=name) for name, *rest in solutions()]
)
def test_solutions_of_the_book(before, solution):
    exec(solution, names_of(before))  # asserts that the check is true


def test_each_check_is_in_the_book():
    assert sorted(name for name, *_ in solutions()) == sorted(CHECKS)
