"""Write the page "paper against this book" from `results/`: `python ledger.py`.

For each experiment: what the paper claims, what the recorded runs measured, and what follows. Every
number comes from a file in `results/`, and every verdict from the rule that stands beside the claim
in the experiment's module.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import chapters
from syre_helpers import experiments

# What the paper does not say can be found true or false here, but not reproduced.
UNSAID = (
    "no such control",
    "not tried",
    "asked for by a reviewer, not reported",
)
RESULTS = chapters.ROOT / "results"
# Written by benchmarks/paper_presets.py.
TIMED = RESULTS / "not_run.csv"
PAGE = chapters.BOOK / "reference" / "paper-against-book.md"
# How the page calls those whose module's name does not say it.
TITLES = {
    "linear_vae": "linear VAE",
    "beta_vae": "beta-VAE",
    "simclr": "SimCLR",
    "plasticity": "loss of plasticity",
    "reinforcement": "reinforcement learning",
}
# Where each experiment is told, in the order of the page.
CHAPTERS = {
    "dead_neurons": "practice/dead-neurons",
    "identical_units": "practice/identical-units",
    "supervised_collapse": "practice/identical-units",
    "linear_vae": "practice/posterior-collapse",
    "beta_vae": "practice/posterior-collapse",
    "simclr": "practice/self-supervised-collapse",
    "plasticity": "practice/loss-of-plasticity",
    "reinforcement": "practice/reinforcement-learning",
    "mode_connectivity": "practice/mode-connectivity",
    "compatibility": "remedy/what-it-costs",
}
PREAMBLE = """\
# Paper against this book

What does the paper report, what did we find, and what follows from it? Each row is one claim:
of the paper, or of a control that the paper does not have. *Quick* runs are those of the
chapters, on small data. *Recorded* runs are longer; each names its data. Numbers are means over
seeds ± one standard deviation. The two kinds are never mixed.

A verdict is a rule that was fixed in the experiment's module, applied to the numbers of every
seed: **reproduced**, **partly**, or **not**. A control that the paper does not have **holds** or
**does not hold**. Where the paper's own preset has not been run, we say so, with the command
that runs it.

This page is made from the files in `results/`, each of which lies beside its provenance:
settings, seeds, versions, device, date, time, and command. `make ledger` writes it anew.
"""


def main() -> int:
    """Write the page."""
    chapters.write(PAGE, page())
    print(f"written: {PAGE}")
    return 0


def page() -> str:
    """Return the whole page."""
    sections, rows = [], []
    for name, chapter in CHAPTERS.items():
        module = experiments.load(name)
        runs = records(name)
        judged = [judge(claim, runs) for claim in module.CLAIMS]
        rows.append(summary(name, chapter, module, runs, judged))
        sections.append(section(name, module, runs, judged))
    overview = [
        "| experiment | reproduced | partly | not | controls held | recorded on | paper's preset |",
        "| --- | ---: | ---: | ---: | ---: | --- | --- |",
        *rows,
    ]
    return "\n".join([PREAMBLE, *overview, "", *sections])


def records(name: str) -> dict[str, experiments.Record]:
    """Return an experiment's recorded runs by preset, the quick ones first."""
    files = sorted(RESULTS.glob(f"{name}-*.csv"))
    found = {
        f.stem.removeprefix(f"{name}-"): experiments.read_record(f)
        for f in files
    }
    order = sorted(found, key=lambda p: (not p.startswith("quick"), p))
    return {preset: found[preset] for preset in order}


def judge(
    claim: Any, runs: dict[str, experiments.Record]
) -> list[tuple[str, str, str]]:
    """Return (preset, numbers, verdict) for each run that the claim is about."""
    found = []
    for preset, record in runs.items():
        if not claim.is_about(preset):
            continue
        values = claim.values(record.table)
        number = (
            f"{values.mean():.3g} ± {values.std():.2g}, {len(values)} seeds"
        )
        found.append((preset, number, claim.verdict(values)))
    return found


def plain(number: float, digits: int) -> str:
    """Return a number with so many digits, and without an exponent where it is large."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.{digits}g}"


def said(claim: Any, verdict: str) -> str:
    """Return a verdict in the words for a claim of the paper, or for one that it does not make."""
    if claim.paper not in UNSAID:
        return verdict
    return {"reproduced": "holds", "not": "does not hold"}.get(verdict, verdict)


def overall(judged: list[tuple[str, str, str]]) -> str:
    """Return one verdict for a claim: that of all runs, or "partly" where they differ."""
    verdicts = {verdict for *_, verdict in judged}
    if not verdicts:
        return "not run"
    return verdicts.pop() if len(verdicts) == 1 else "partly"


def summary(
    name: str,
    chapter: str,
    module: Any,
    runs: dict[str, experiments.Record],
    judged: list[list[tuple[str, str, str]]],
) -> str:
    """Return an experiment's row in the first table."""
    words = [
        said(c, overall(j)) for c, j in zip(module.CLAIMS, judged, strict=True)
    ]
    counts = Counter(words)
    numbers = " | ".join(
        str(counts[word]) for word in ("reproduced", "partly", "not", "holds")
    )
    longer = [r for p, r in runs.items() if not p.startswith("quick")]
    data = ", ".join(sorted({data_of(r) for r in longer})) or "—"
    ran = "run" if "paper" in runs else "not run"
    return (
        f"| [{title(name)}](../{chapter}.ipynb) | {numbers} | {data} | {ran} |"
    )


def title(name: str) -> str:
    """Return an experiment's name in words."""
    return TITLES.get(name, name.replace("_", " "))


def data_of(record: experiments.Record) -> str:
    """Return the name of the data that a run used."""
    return str(record.provenance.get("data", {}).get("name", "generated"))


def section(
    name: str,
    module: Any,
    runs: dict[str, experiments.Record],
    judged: list[list[tuple[str, str, str]]],
) -> str:
    """Return an experiment's claims, one after the other, and where the numbers are from."""
    called = title(name)
    lines = [f"## {called[0].upper()}{called[1:]}", ""]
    for claim, found in zip(module.CLAIMS, judged, strict=True):
        lines += [f"**{claim.text.rstrip('.')}.** {claim.comment}", ""]
        lines += [
            f"| run | {claim.unit} | verdict |",
            "| --- | --- | --- |",
            f"| paper | {claim.paper} | |",
            *(
                f"| {preset} | {n} | {said(claim, v)} |"
                for preset, n, v in found
            ),
            "",
        ]
    lines += [source(name, preset, record) for preset, record in runs.items()]
    missing = [p for p in module.PRESETS if p not in runs]
    lines += [
        f"- *{preset}*: not run{effort(name, preset)}. "
        f"`python -m syre_helpers run {name} --preset {preset}`"
        for preset in missing
    ]
    return "\n".join([*lines, ""])


def effort(name: str, preset: str) -> str:
    """Return in words how long a preset that was not run would take, as far as it was timed."""
    if not TIMED.exists():
        return ""
    facts = json.loads(TIMED.with_suffix(".json").read_text())
    with TIMED.open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["experiment"], row["preset"]) == (name, preset):
                hours = float(row["hours"])
                about = f"{hours:.0f}" if hours >= 10 else f"{hours:.2g}"
                return (
                    f", about {about} hours on {facts['where']} ({begun(row)})"
                )
    return ""


def begun(row: dict[str, str]) -> str:
    """Return in words how much of a preset was ever completed."""
    if row["timed_on"] != row["preset"]:
        return f"judged by *{row['timed_on']}*; none of it was run"
    timed, steps = (int(row[column]) for column in ("steps_timed", "steps"))
    return f"begun for {timed:,} of {steps:,} steps, to time them"


def source(name: str, preset: str, record: experiments.Record) -> str:
    """Return the line that says where a run's numbers come from."""
    facts = record.provenance
    file = Path("results") / f"{name}-{preset}.csv"
    return (
        f"- *{preset}*: {data_of(record)}; {facts['config']['seeds']} seeds; {facts['device']}; "
        f"{facts['seconds'] / 60:.1f} minutes; {facts['date']}; `{file}`"
    )


if __name__ == "__main__":
    sys.exit(main())
