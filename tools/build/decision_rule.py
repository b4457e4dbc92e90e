"""Write the page "Should I use syre?" from its template: `python -m tools.build.decision_rule`.

What the rule advises rests on claims of the experiments. Each number on the page is the measurement
of such a claim, taken from the recorded run that the template names; and one of the arms that the
claim measures must be the one that the step advises, or the page is not written.
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
    return render("decision_rule.md.j2", quote=quote)


def quote(name: str, preset: str, begins: str, **advised: Any) -> str:
    """Return the measurement of a claim with a link to the ledger.

    Parameters
    ----------
    name, preset : str
        The experiment and the recorded run.
    begins : str
        The first words of the claim.
    **advised : object
        Settings of the arm that the step advises, such as ``method="syre", sigma_ratio=0.01``; one
        of the arms that the claim measures must have them.

    Returns
    -------
    str
        Mean, interval and seeds, in Markdown.

    Raises
    ------
    ValueError
        If not exactly one claim begins so, if it is not about the run, or if it does not measure
        the arm that is advised.
    """
    claims = [c for c in experiments.load(name).CLAIMS if c.text.startswith(begins)]
    if len(claims) != 1:
        raise ValueError(f"{len(claims)} claims of {name} begin with {begins!r}; name one")
    (claim,) = claims
    arms = [getattr(claim.measure, end, None) for end in ("rows", "other")]
    measured = [arm.settings for arm in arms if isinstance(arm, experiments.of)]
    if not any(advised.items() <= settings.items() for settings in measured):
        raise ValueError(f"the claim {claim.text!r} measures {measured}, and not {advised}")
    runs = ledger.records(name)
    found = {one["preset"]: one["here"] for one in ledger.judge(claim, runs)}
    if preset not in found:
        raise ValueError(f"the claim {claim.text!r} is about {list(found)}, and not about {preset}")
    section = ledger.TITLES.get(name, name.replace("_", " ")).lower().replace(" ", "-")
    run = ledger.run_name(preset, runs[preset])
    return f"{found[preset]} ([{run}](paper-against-book.md#{section}))"


if __name__ == "__main__":
    sys.exit(main())
