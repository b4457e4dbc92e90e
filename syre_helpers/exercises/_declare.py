"""An exercise as data: the right answer, the usual mistakes, and what to say about each.

A chapter's file declares its exercises; calling one with a reader's answer returns a `Verdict`.
Nothing here ever raises because of what a reader answered.
"""

from __future__ import annotations

import copy
import html
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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
            f'<div class="syre-verdict" data-ok="{self._state()}" role="status">'
            f"<strong>{self._word()}</strong> {html.escape(self.message)}</div>"
        )

    def _state(self) -> str:
        return "none" if self.message == NO_ANSWER else str(self.ok).lower()

    def _word(self) -> str:
        if self.message == NO_ANSWER:
            return ""
        return "Right." if self.ok else "Not yet."


class Mistake(Exception):
    """What to tell a reader whose answer is wrong."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Exercise(ABC):
    """An exercise: call it with an answer to get a `Verdict`.

    Parameters
    ----------
    what : str
        What is asked for, to begin a sentence with, such as "The rank".
    praise : str
        What to say when the answer is right.
    """

    what: str
    praise: str

    def __call__(self, answer: object) -> Verdict:
        """Return the verdict on an answer.

        Parameters
        ----------
        answer : object
            Whatever the reader assigned.

        Returns
        -------
        Verdict
            Whether the answer is right, else which usual mistake was made.
        """
        if _missing(answer) or _is_empty(answer):
            return Verdict(False, NO_ANSWER)
        try:
            return Verdict(True, self.judge(answer))
        except Mistake as mistake:
            return Verdict(False, str(mistake))

    @abstractmethod
    def judge(self, answer: Any) -> str:
        """Return the praise of a right answer.

        Parameters
        ----------
        answer : object
            Anything but None and ``...``.

        Returns
        -------
        str
            For the reader.

        Raises
        ------
        Mistake
            If the answer is wrong, with the words for the reader.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.what!r})"  # keeps the answer to itself


@dataclass(frozen=True, kw_only=True, repr=False)
class Number(Exercise):
    """An exercise whose answer is a number, of any kind or in a tensor or array of one element.

    Parameters
    ----------
    what, praise : str
        As for every exercise.
    right : float or mapping of str to float
        The right number. Where several are right, each with its kind, such as "exact",
        "first-order" or "measured": the praise then says which is which.
    mistakes : mapping of str to float or tuple of floats
        What to say about a usual mistake, and the wrong numbers that show it. They are tried in
        order, with the same tolerance.
    rtol, atol : float
        Allowed is ``atol + rtol * abs(right)``. Default of rtol: 1%, and 0 where the right number
        is an int, a count. Default of atol: 0.

    Examples
    --------
    >>> rank = Number(
    ...     what="The rank",
    ...     right=20,
    ...     praise="Ten per unit.",
    ...     mistakes={"You counted one of the two units.": 10},
    ... )
    >>> rank(20)
    Right. Ten per unit.
    >>> rank(10)
    Not yet. You counted one of the two units.
    >>> rank("20")
    Not yet. The rank should be a number, but the answer is text: '20'. Leave out the quotes.
    >>> rank(...)
    No answer yet: replace the … above.
    """

    right: float | Mapping[str, float]
    mistakes: Mapping[str, float | tuple[float, ...]]
    rtol: float | None = None
    atol: float = 0.0

    def judge(self, answer: Any) -> str:
        number = as_number(answer)
        if number is None:
            raise Mistake(f"{self.what} should be a number, but {_kind_of(answer)}")
        if math.isnan(number):
            raise Mistake(f"{self.what} is NaN, not a number: something was 0/0, or NaN before.")
        kinds = self.right if isinstance(self.right, Mapping) else {"": self.right}
        kind = min(kinds, key=lambda kind: abs(kinds[kind] - number))
        if self._agrees(number, kinds[kind]):
            return f"{self.praise} {self._which_is_which(kind)}".rstrip()
        for words, wrong in self.mistakes.items():
            if any(self._agrees(number, one) for one in each(wrong)):
                raise Mistake(words)
        direction = "high" if number > kinds[kind] else "low"
        raise Mistake(f"{self.what} is not {number:.6g}: that is too {direction}.")

    def _agrees(self, number: float, wanted: float) -> bool:
        usual = 0.0 if isinstance(self.right, int) else 1e-2
        return close(number, wanted, usual if self.rtol is None else self.rtol, self.atol)

    def _which_is_which(self, yours: str) -> str:
        if not isinstance(self.right, Mapping):
            return ""
        answers = ", ".join(f"{kind} {number:.4g}" for kind, number in self.right.items())
        return f"All of these are right: {answers}. Yours is nearest to the {yours} one."


@dataclass(frozen=True, kw_only=True, repr=False)
class Choice(Exercise):
    """An exercise whose answer is one or several letters.

    They may come as a collection or as text: ``{"a", "c"}``, ``"ac"``, ``"A, C"``, ``"a and c"``.

    Parameters
    ----------
    what, praise : str
        As for every exercise.
    right : collection of str
        The right letters.
    messages : mapping of str to str
        All letters that there are, in lower case. For a wrong one, why it is wrong; for a right
        one, what to say where it is missing.

    Examples
    --------
    >>> odd = Choice(
    ...     what="The odd activations",
    ...     right="ac",
    ...     praise="f(-x) is -f(x).",
    ...     messages={"a": "And tanh?", "b": "ReLU is not odd.", "c": "And the sine?"},
    ... )
    >>> odd("A, B")
    Not yet. ReLU is not odd.
    >>> odd({"a"})
    Not yet. And the sine?
    >>> odd("ad")
    Not yet. 'ad' is not among the choices: a, b, c.
    """

    right: Collection[str]
    messages: Mapping[str, str]

    def judge(self, answer: Any) -> str:
        several = isinstance(answer, (list, tuple, set, frozenset))
        chosen = [letter for one in (answer if several else [answer]) for letter in self._of(one)]
        wrong = [letter for letter in chosen if letter not in self.right]
        lacking = [one for one in self.messages if one in self.right and one not in chosen]
        if faults := wrong + lacking:
            raise Mistake(self.messages[faults[0]])
        return self.praise

    def _of(self, one: Any) -> list[str]:
        """Return the letters of a text such as "b, c" or "bc"."""
        words = [word for word in re.findall(r"\w+", str(one).casefold()) if word != "and"]
        letters = list("".join(words))
        if not letters or not set(letters) <= set(self.messages):
            choices = ", ".join(self.messages)
            raise Mistake(f"{one!r:.40} is not among the choices: {choices}.")
        return letters


@dataclass(frozen=True, kw_only=True, repr=False)
class Function(Exercise):
    """An exercise whose answer is a function, judged by what it returns.

    Parameters
    ----------
    what, praise : str
        As for every exercise; ``what`` has the default "Your function".
    right : callable
        A right function: returns a number, a tensor, or a tuple, list or mapping of such.
    cases : sequence or mapping of tuples
        Arguments to try, each a tuple; a mapping gives each case a name for the reader. All
        functions get copies.
    mistakes : mapping of str to callable or tuple of callables
        What to say about a usual mistake, and the wrong functions that show it: a reader's
        function makes the first one that it agrees with in all cases.
    view : callable, optional
        ``view(returned, *case)`` gives what is compared, where several returned values are right;
        it may raise `Mistake`. Default: what is returned.
    rtol, atol : float
        Allowed difference of each number. Defaults 1e-6 and 1e-9.

    Examples
    --------
    >>> square = Function(
    ...     what="The square",
    ...     right=lambda x: x * x,
    ...     cases=[(2.0,), (3.0,)],
    ...     praise="",
    ...     mistakes={"That is twice the number.": lambda x: 2 * x},
    ... )
    >>> square(lambda x: x + x)
    Not yet. That is twice the number.
    >>> square(lambda x: x)
    Not yet. The square goes wrong for (2.0): it returns 2, which is too low.
    >>> square(lambda x: 1 / 0)
    Not yet. The square stops for (2.0): ZeroDivisionError: division by zero
    """

    what: str = "Your function"
    right: Callable[..., Any]
    cases: Sequence[tuple[Any, ...]] | Mapping[str, tuple[Any, ...]]
    mistakes: Mapping[str, Callable[..., Any] | tuple[Callable[..., Any], ...]]
    view: Callable[..., Any] = lambda returned, *case: returned
    rtol: float = 1e-6
    atol: float = 1e-9

    def judge(self, answer: Any) -> str:
        if not callable(answer):
            raise Mistake(f"{self.what} should be a function, but {_kind_of(answer)}")
        found = {name: self._seen(answer, name, case) for name, case in self._named.items()}
        problem = self._difference(found, self.right)
        if not problem:
            return self.praise
        for words, wrong in self.mistakes.items():
            if any(not self._difference(found, one) for one in each(wrong)):
                raise Mistake(words)
        raise Mistake(problem)

    @property
    def _named(self) -> Mapping[str, tuple[Any, ...]]:
        if isinstance(self.cases, Mapping):
            return self.cases
        return {in_words(case): case for case in self.cases}

    def _seen(self, answer: Callable[..., Any], name: str, case: tuple[Any, ...]) -> Any:
        """Return the view of what the reader's function returns."""
        given = copy.deepcopy(case)
        with errors_told(f"{self.what} stops for {name}"):
            returned = answer(*given)
        if _missing(returned):
            raise Mistake(
                f"{self.what} returns {returned} for {name}: replace the …, and end with a return."
            )
        if difference(given, case, 0.0, 0.0):
            change = f"{self.what} changes what it is given, for {name}"
            raise Mistake(f"{change}: work on a copy, and return that.")
        with errors_told(f"{self.what} stops for {name}"):
            return self.view(returned, *case)

    def _difference(self, found: Mapping[str, Any], wanted: Callable[..., Any]) -> str:
        for name, case in self._named.items():
            right = self.view(wanted(*copy.deepcopy(case)), *case)
            if told := difference(found[name], right, self.rtol, self.atol):
                return f"{self.what} goes wrong for {name}: it returns {told}."
        return ""


@dataclass(frozen=True, kw_only=True, repr=False)
class Judged(Exercise):
    """An exercise whose answers need a judge of their own.

    Parameters
    ----------
    what, praise : str
        As for every exercise.
    right : object
        One right answer.
    judged_by : callable
        Raises `Mistake` where an answer is wrong.
    """

    right: Any
    judged_by: Callable[[Any], None]

    def judge(self, answer: Any) -> str:
        with errors_told(f"{self.what} stops"):
            self.judged_by(answer)
        return self.praise


def each(wrong: Any) -> tuple[Any, ...]:
    """Return the wrong answers that one message is for.

    Parameters
    ----------
    wrong : object or tuple
        An entry of ``mistakes``.

    Returns
    -------
    tuple
        One entry where `wrong` is none.
    """
    return wrong if isinstance(wrong, tuple) else (wrong,)


@contextmanager
def errors_told(beginning: str) -> Iterator[None]:
    """Turn any error of the reader's own code into words.

    Parameters
    ----------
    beginning : str
        Of the sentence that ends with the error.

    Yields
    ------
    None
        Once.

    Raises
    ------
    Mistake
        If there was an error.
    """
    try:
        yield
    except Mistake:
        raise
    except Exception as error:  # whatever the reader's own code does
        reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
        raise Mistake(f"{beginning}: {reason}") from error


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers for a case, the same ones always.

    Parameters
    ----------
    *shape : int
        Of the tensor.
    seed : int
        Default 0.

    Returns
    -------
    Tensor
        In float64.
    """
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def float64(*values: Any) -> Tensor:
    """Return a tensor of these values for a case.

    Parameters
    ----------
    *values : float or sequence of floats
        Entries, or rows.

    Returns
    -------
    Tensor
        In float64.
    """
    return torch.tensor(values, dtype=torch.float64)


def _missing(answer: object) -> bool:
    return answer is None or answer is Ellipsis


def _nothing() -> None: ...


def _is_empty(answer: object) -> bool:
    """Return True for a function whose body is still ``...``, as the page gives it."""
    code, empty = getattr(answer, "__code__", None), _nothing.__code__
    if code is None or code.co_name == "<lambda>":
        return False
    return bool((code.co_code, code.co_consts) == (empty.co_code, empty.co_consts))


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
