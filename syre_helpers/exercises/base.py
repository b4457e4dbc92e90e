"""What checks are made of. None of it ever raises because of what a reader answered."""

from __future__ import annotations

import copy
import html
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._compare import as_number, close, difference, in_words

NO_ANSWER = "No answer yet: replace the … above."


@dataclass(frozen=True)
class Verdict:
    """What a check says about an answer; true where the answer is right.

    Parameters
    ----------
    ok : bool
        Whether the answer is right.
    message : str
        Why, without giving the answer away.

    Examples
    --------
    >>> Verdict(False, "The bias changes its sign too.")
    Not yet. The bias changes its sign too.
    >>> bool(Verdict(True, ""))
    True
    """

    ok: bool
    message: str = ""

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return f"{self._word()} {self.message}".strip()

    def _repr_html_(self) -> str:
        return (
            f'<div class="syre-verdict" data-ok="{str(self.ok).lower()}" role="status">'
            f"<strong>{self._word()}</strong> {html.escape(self.message)}</div>"
        )

    def _word(self) -> str:
        if self.message == NO_ANSWER:
            return ""
        return "Right." if self.ok else "Not yet."


def check_number(
    answer: object,
    expected: float,
    *,
    what: str,
    rtol: float = 1e-2,
    atol: float = 0.0,
    hints: Sequence[tuple[float | Callable[[float], bool], str]] = (),
    right: str = "",
) -> Verdict:
    """Check a number.

    Parameters
    ----------
    answer : object
        Whatever the reader assigned: a number of any kind, a tensor or an array with one element.
    expected : float
        The right number.
    what : str
        What is asked for, to begin a sentence with, such as "The rank".
    rtol, atol : float
        Allowed is ``atol + rtol * abs(expected)``. Defaults 1% and 0.
    hints : sequence of (number or callable, str)
        Usual mistakes, tried in order: a wrong number (with the same tolerance), or a function that
        says whether it was made, and what to tell the reader.
    right : str
        What to say when the answer is right.

    Returns
    -------
    Verdict
        Its message does not contain the expected number.

    Examples
    --------
    >>> check_number(10, 20, what="The rank", hints=[(10, "You counted one of the two units.")])
    Not yet. You counted one of the two units.
    >>> check_number("20", 20, what="The rank")
    Not yet. The rank should be a number, but the answer is text: '20'. Leave out the quotes.
    >>> check_number(..., 20, what="The rank")
    No answer yet: replace the … above.
    """
    if _missing(answer):
        return Verdict(False, NO_ANSWER)
    number = as_number(answer)
    if number is None:
        return Verdict(False, f"{what} should be a number, but {_kind_of(answer)}")
    if math.isnan(number):
        return Verdict(False, f"{what} is NaN, not a number: something was 0/0, or NaN before.")
    if close(number, expected, rtol, atol):
        return Verdict(True, right)
    for mistake, message in hints:
        made = mistake(number) if callable(mistake) else close(number, mistake, rtol, atol)
        if made:
            return Verdict(False, message)
    return Verdict(
        False, f"{what} is not {number:.6g}: that is too {'high' if number > expected else 'low'}."
    )


def check_choice(
    answer: object,
    correct: str | Collection[str],
    choices: Collection[str],
    messages: Mapping[str, str] | None = None,
    *,
    right: str = "",
) -> Verdict:
    """Check the choice of one answer, or of several, among some.

    Parameters
    ----------
    answer : object
        Whatever the reader assigned: one of the choices, in small or capital letters; a collection
        of them where several are right.
    correct : str or set of str
        The right choice. A set means that several are asked for.
    choices : collection of str
        All that there are.
    messages : mapping of str to str, optional
        For a wrong choice, why it is wrong; for a right one of several, what to say where it is
        missing.
    right : str
        What to say when the answer is right.

    Returns
    -------
    Verdict
        Its message does not contain the right choice.

    Examples
    --------
    >>> why = {"b": "ReLU is not odd: f(-x) is not -f(x)."}
    >>> check_choice("B", "a", ["a", "b", "c"], why)
    Not yet. ReLU is not odd: f(-x) is not -f(x).
    >>> check_choice("d", "a", ["a", "b", "c"])
    Not yet. 'd' is not among the choices: a, b, c.
    >>> check_choice(["a"], {"a", "c"}, ["a", "b", "c"])
    Not yet. What you chose is right, and something is missing.
    """
    if _missing(answer):
        return Verdict(False, NO_ANSWER)
    several = not isinstance(correct, str)
    given = list(answer) if isinstance(answer, (list, tuple, set, frozenset)) else [answer]
    known = {choice.casefold(): choice for choice in choices}
    chosen = [known.get(str(one).strip().casefold()) for one in given]
    if None in chosen:
        stranger = given[chosen.index(None)]
        return Verdict(False, f"{stranger!r:.40} is not among the choices: {', '.join(choices)}.")
    if not several and len(chosen) != 1:
        return Verdict(False, f"Choose one of {', '.join(choices)}; the answer has {len(chosen)}.")
    wanted = set(correct) if not isinstance(correct, str) else {correct}
    told = messages or {}
    wrong = [one for one in chosen if one is not None and one not in wanted]
    if wrong:
        explained = [one for one in wrong if one in told]
        if explained:
            return Verdict(False, told[explained[0]])
        return Verdict(False, f"{wrong[0]} is not right." if several else f"It is not {wrong[0]}.")
    missing = [one for one in choices if one in wanted and one not in chosen]
    if missing:
        hint = next((told[one] for one in missing if one in told), "")
        return Verdict(False, hint or "What you chose is right, and something is missing.")
    return Verdict(True, right)


def check_function(
    answer: object,
    reference: Callable[..., Any],
    cases: Sequence[tuple[Any, ...]] | Mapping[str, tuple[Any, ...]],
    *,
    what: str = "Your function",
    rtol: float = 1e-6,
    atol: float = 1e-9,
    hints: Sequence[tuple[Callable[..., Any], str]] = (),
    right: str = "",
) -> Verdict:
    """Check a function by what it returns.

    Parameters
    ----------
    answer : object
        Whatever the reader assigned. An exception that it raises becomes part of the message.
    reference : callable
        The right function: returns a number, a tensor, or a tuple, list or mapping of such.
    cases : sequence or mapping of tuples
        Arguments to try, each a tuple; a mapping gives each case a name for the reader. Both
        functions get copies.
    what : str
        What the function is, to begin a sentence with. Default "Your function".
    rtol, atol : float
        Allowed difference of each number. Defaults 1e-6 and 1e-9.
    hints : sequence of (callable, str)
        Usual mistakes: a wrong function, and what to tell a reader whose function agrees with it in
        all cases.
    right : str
        What to say when the answer is right.

    Returns
    -------
    Verdict
        Names the first case that goes wrong, and how: exception, type, shape or value.

    Examples
    --------
    >>> check_function(lambda x: 2 * x, lambda x: x * x, [(2.0,), (3.0,)], what="The square")
    Not yet. The square goes wrong for (3.0): it returns 6, which is too low.
    >>> check_function(lambda x: 1 / x, lambda x: 0.0, {"nothing at all": (0.0,)})
    Not yet. Your function stops for nothing at all: ZeroDivisionError: float division by zero
    """
    if _missing(answer):
        return Verdict(False, NO_ANSWER)
    if not callable(answer):
        return Verdict(False, f"{what} should be a function, but {_kind_of(answer)}")
    named = cases if isinstance(cases, Mapping) else {in_words(case): case for case in cases}
    wanted = {name: reference(*copy.deepcopy(case)) for name, case in named.items()}
    found: dict[str, Any] = {}
    problem = ""
    for name, case in named.items():
        given = copy.deepcopy(case)
        try:
            found[name] = answer(*given)
        except Exception as error:  # whatever the reader's own code does
            reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
            return Verdict(False, f"{what} stops for {name}: {reason}")
        if _missing(found[name]):
            return Verdict(
                False,
                f"{what} returns {found[name]} for {name}: replace the …, and end with a return.",
            )
        if difference(given, case, 0.0, 0.0):
            return Verdict(
                False,
                f"{what} changes what it is given, for {name}: work on a copy, and return that.",
            )
        told = difference(found[name], wanted[name], rtol, atol)
        if told and not problem:
            problem = f"{what} goes wrong for {name}: it returns {told}."
    if not problem:
        return Verdict(True, right)
    for mistaken, message in hints:
        if all(
            not difference(found[name], mistaken(*copy.deepcopy(case)), rtol, atol)
            for name, case in named.items()
        ):
            return Verdict(False, message)
    return Verdict(False, problem)


def _missing(answer: object) -> bool:
    return answer is None or answer is Ellipsis


def _kind_of(answer: object) -> str:
    """Say what an answer of the wrong kind is."""
    if isinstance(answer, str):
        return f"the answer is text: {answer!r:.40}. Leave out the quotes."
    if callable(answer):
        return "the answer is a function. Call it, and give what it returns."
    shape = getattr(answer, "shape", None)
    if shape is not None:
        return f"the answer has shape {tuple(shape)}."
    return f"the answer is of type {type(answer).__name__}."
