"""Write the page "paper against this book" from `results/`: `python -m tools.build.ledger`.

For each experiment: what the paper claims, what the recorded runs measured, and what follows. Every
number comes from a file in `results/`, and every verdict from the rule that stands beside the claim
in the experiment's module.
"""

from __future__ import annotations

import csv
import json
import sys
from typing import Any

from syre_helpers import experiments
from tools.build import chapters, files
from tools.build.templates import render

RESULTS = chapters.ROOT / "results"
# Written by tools/gpu.
ON_GPU = RESULTS / "cuda"
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
    "symmetry_degree": "degree of symmetry",
}
# How the page calls the runs of presets that many experiments have.
RUNS = {
    "quick": "our quick run",
    "mnist": "our run on MNIST",
    "paper": "our full-size run",
    "full-size": "our full-size run",
}
# All verdicts, from good to bad, in the order of the page.
WORDS = (
    "reproduced", "holds", "partly", "runs differ", "not shown", "not", "does not hold", "not run",
)  # fmt: skip
# Where each experiment is told, in the order of the page.
CHAPTERS = {
    "dead_neurons": "practice/dead-neurons",
    "identical_units": "practice/identical-units",
    "supervised_collapse": "practice/supervised-collapse",
    "linear_vae": "practice/posterior-collapse",
    "beta_vae": "practice/posterior-collapse",
    "simclr": "practice/self-supervised-collapse",
    "plasticity": "practice/loss-of-plasticity",
    "reinforcement": "practice/reinforcement-learning",
    "mode_connectivity": "practice/mode-connectivity",
    "closed_gates": "practice/your-own-model",
    "growing": "practice/when-not-to",
    "transformers": "practice/transformers",
    "compatibility": "remedy/what-it-costs",
    "persistence": "remedy/syre",
    "symmetry_degree": "remedy/how-strong",
}


def main() -> int:
    """Write the page."""
    files.write(PAGE, page())
    print(f"written: {PAGE}")
    return 0


def page() -> str:
    """Return the whole page."""
    told = [experiment(name, chapter) for name, chapter in CHAPTERS.items()]
    return render("ledger.md.j2", experiments=told, words=WORDS, run_name=run_name, place=place)


def experiment(name: str, chapter: str) -> dict[str, Any]:
    """Return the page's data on an experiment: its claims, judged, and its runs."""
    module, runs = experiments.load(name), records(name)
    judged = [(claim, judge(claim, runs)) for claim in module.CLAIMS]
    longer = [run for preset, run in runs.items() if not preset.startswith("quick")]
    return {
        "name": name,
        "title": TITLES.get(name, name.replace("_", " ")),
        "chapter": chapter,
        "runs": runs,
        "judged": judged,
        "overall": [overall(found) for _, found in judged],
        "data": ", ".join(sorted({data_of(run) for run in longer})) or "the chapter's run alone",
        "missing": [
            (p, effort(name, p), command(name, p)) for p in module.PRESETS if p not in runs
        ],
    }


def records(name: str) -> dict[str, experiments.Record]:
    """Return an experiment's recorded runs by preset, the quick ones first."""
    found: dict[str, experiments.Record] = {}
    for file in [*sorted(RESULTS.glob(f"{name}-*.csv")), *sorted(ON_GPU.glob(f"{name}-*.csv"))]:
        found.setdefault(file.stem.removeprefix(f"{name}-"), experiments.read_record(file))
    order = sorted(found, key=lambda p: (not p.startswith("quick"), p))
    return {preset: found[preset] for preset in order}


def judge(claim: experiments.Claim, runs: dict[str, experiments.Record]) -> list[dict[str, str]]:
    """Return verdict, numbers and preset for each run that the claim is about."""
    tables = {preset: record.table for preset, record in runs.items()}
    return experiments.verdicts([claim], tables).to_dict("records")


def overall(judged: list[dict[str, str]]) -> str:
    """Return one word for a claim: that of all its runs, or "runs differ"."""
    words = {one["verdict"] for one in judged}
    if not words:
        return "not run"
    return words.pop() if len(words) == 1 else "runs differ"


def place(name: str, preset: str) -> str:
    """Return the path of a run's files in `results/`, without their endings."""
    file = RESULTS / f"{name}-{preset}.csv"
    folder = "" if file.exists() else f"{ON_GPU.name}/"
    return f"results/{folder}{name}-{preset}"


def run_name(preset: str, run: experiments.Record) -> str:
    """Return the page's name of a run: by its data, and never the paper's."""
    if preset in RUNS:
        return RUNS[preset]
    return (
        f"our run `{preset}`" if data_of(run) in preset else f"our run `{preset}`, {data_of(run)}"
    )


def data_of(record: experiments.Record) -> str:
    """Return the name of the data that a run used."""
    return str(record.provenance.get("data", {}).get("name", "generated data"))


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
                return f", about {about} hours on {facts['where']} ({begun(row)})"
    return ""


def command(name: str, preset: str) -> str:
    """Return the command that runs a preset; those for a GPU have one of their own."""
    if preset.startswith("cuda"):
        return f"python -m tools.gpu --only {name}-{preset}"
    return f"python -m syre_helpers run {name} --preset {preset}"


def begun(row: dict[str, str]) -> str:
    """Return in words how much of a preset was ever completed."""
    if row["timed_on"] != row["preset"]:
        return f"judged by `{row['timed_on']}`; none of it was run"
    timed, steps = (int(row[column]) for column in ("steps_timed", "steps"))
    return f"begun for {timed:,} of {steps:,} steps, to time them"


if __name__ == "__main__":
    sys.exit(main())
