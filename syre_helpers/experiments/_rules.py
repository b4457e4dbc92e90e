"""Rules of claims: what the numbers of all seeds must be for a claim to hold.

A rule takes the numbers: True where they bear the claim out, None where they do so in part, False
where they do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._claims import Rule


def all_below(bound: float) -> Rule:
    """Return the rule that the number of every seed is below a bound."""
    return lambda values: bool((values < bound).all())


def all_above(bound: float) -> Rule:
    """Return the rule that the number of every seed is above a bound."""
    return lambda values: bool((values > bound).all())


def all_near(wanted: float, within: float = 0.0) -> Rule:
    """Return the rule that the number of every seed is as far from one wanted at most."""
    return lambda values: bool(((values - wanted).abs() <= within).all())


def mean_above(bound: float) -> Rule:
    """Return the rule that the mean over the seeds is above a bound."""
    return lambda values: bool(values.mean() > bound)


def mean_below(bound: float) -> Rule:
    """Return the rule that the mean over the seeds is below a bound."""
    return lambda values: bool(values.mean() < bound)


def clearly_above(bound: float) -> Rule:
    """Return the rule that the mean is above a bound by more than two standard errors."""
    return lambda values: bool(values.mean() - 2 * values.sem() > bound)


def clearly_below(bound: float) -> Rule:
    """Return the rule that the mean is below a bound by more than two standard errors."""
    return lambda values: bool(values.mean() + 2 * values.sem() < bound)


def graded(full: Rule, part: Rule) -> Rule:
    """Return the rule that holds where `full` does, and in part where `part` does."""
    return lambda values: True if full(values) else None if part(values) else False
