"""Write the page "Should I use syre?" from its template: `python -m tools.build.decision_rule`.

What the chart advises, and how the rivals did, rests on claims of the experiments. Each number on
the page is the measurement of such a claim, taken from the recorded run that the template names;
and one of the arms that the claim measures must be the one that the template names, or the page is
not written.
"""

from __future__ import annotations

import sys
from typing import Any

from syre_helpers import experiments
from tools.build import chapters, files, ledger
from tools.build.templates import render

PAGE = chapters.BOOK / "reference" / "decision-rule.md"


def main() -> int:
    """Write the page."""
    files.write(PAGE, page())
    print(f"written: {PAGE}")
    return 0


def page() -> str:
    """Return the whole page."""
    return render("decision_rule.md.j2", quote=quote, judged=judged)


def quote(name: str, preset: str, begins: str, **arm: Any) -> str:
    """Return the measurement of a claim with a link to the ledger.

    Parameters
    ----------
    name, preset : str
        The experiment and the recorded run.
    begins : str
        The first words of the claim.
    **arm : object
        Settings of the arm that the page speaks of, such as ``method="syre", sigma_ratio=0.01``;
        one of the arms that the claim measures must have them. A claim that measures no arm by
        its settings is quoted without.

    Returns
    -------
    str
        Mean, interval and seeds, in Markdown.

    Raises
    ------
    ValueError
        If not exactly one claim begins so, if it is not about the run, or if it does not measure
        the arm.
    """
    _, here, run = found(name, preset, begins, arm)
    return f"{here} ({run})"


def judged(name: str, preset: str, begins: str, **arm: Any) -> str:
    """Return the verdict on a claim, its measurement, and a link to the ledger; see `quote`."""
    word, here, run = found(name, preset, begins, arm)
    return f"**{word}**, {here} ({run})"


def found(name: str, preset: str, begins: str, arm: dict[str, Any]) -> tuple[str, str, str]:
    """Return verdict and measurement of a claim, and the link to its run in the ledger."""
    claims = [c for c in experiments.load(name).CLAIMS if c.text.startswith(begins)]
    if len(claims) != 1:
        raise ValueError(f"{len(claims)} claims of {name} begin with {begins!r}; name one")
    (claim,) = claims
    ends = [getattr(claim.measure, end, None) for end in ("rows", "other")]
    measured = [end.settings for end in ends if isinstance(end, experiments.of)]
    fits = any(arm.items() <= settings.items() for settings in measured)
    if not fits and (arm or measured):
        raise ValueError(f"the claim {claim.text!r} measures {measured}, and not {arm}")
    runs = ledger.records(name)
    results = {one["preset"]: one for one in ledger.judge(claim, runs)}
    if preset not in results:
        raise ValueError(
            f"the claim {claim.text!r} is about {list(results)}, and not about {preset}"
        )
    section = ledger.TITLES.get(name, name.replace("_", " ")).lower().replace(" ", "-")
    run = f"[{ledger.run_name(preset, runs[preset])}](paper-against-book.md#{section})"
    return results[preset]["verdict"], results[preset]["here"], run


if __name__ == "__main__":
    sys.exit(main())
