"""What a run on a GPU has shown so far, as a page."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, str]


def summary(status: dict[str, dict[str, Any]], out: Path) -> str:
    """Return the summary of a folder of results: a plain page in Markdown.

    Parameters
    ----------
    status : dict
        The state of each part.
    out : Path
        The folder.

    Returns
    -------
    str
        The states of the parts, then what was found.
    """
    lines = [
        "# Run on a GPU",
        "",
        "| part | state | seconds | estimated | |",
        "|---|---|---:|---:|---|",
    ]
    for name, entry in status.items():
        numbers = f"{entry.get('seconds', '')} | {entry['estimated']:.0f}"
        lines.append(f"| {name} | {entry['state']} | {numbers} | {entry.get('reason', '')} |")
    found = [line for part in (_smoke, _tests, _targets, _records) for line in part(out)]
    return "\n".join([*lines, "", *found]) + "\n"


def _smoke(out: Path) -> Iterable[str]:
    rows = _rows(out / "smoke.csv")
    if rows:
        failed = [row["check"] for row in rows if row["outcome"] != "ok"]
        words = f"; failed: {', '.join(failed)}" if failed else ""
        yield f"- smoke test: {len(rows) - len(failed)} of {len(rows)} checks passed{words}"


def _tests(out: Path) -> Iterable[str]:
    for log in sorted((out / "logs").glob("tests*.txt")):
        # Line by line, so that a run that was cut off counts too.
        outcomes = re.findall(
            r"^(\S+::\S.*?) (PASSED|FAILED|SKIPPED|ERROR)", log.read_text(errors="replace"), re.M
        )
        counts = {word: sum(w == word for _, w in outcomes) for _, word in outcomes}
        said = ", ".join(f"{n} {word.lower()}" for word, n in counts.items()) or "none ended"
        yield f"- {log.stem}: {said}"
        yield from (f"  - {name} {word.lower()}" for name, word in outcomes if word[0] in "FE")


def _targets(out: Path) -> Iterable[str]:
    """Yield what was measured beside what was hoped for."""
    largest = max((int(r["parameters"]) for r in _rows(out / "step_alone.csv")), default=0)
    targets: list[tuple[str, str, Callable[[Row], bool], str]] = [
        (
            "many_models",
            "a loop's time over that of 256 models as one (hoped for: 50 or more)",
            lambda r: r["models"] == "256" and r["form"].startswith("many"),
            "widths",
        ),
        (
            "computed_cost",
            "a step with nothing stored over plain decay's (hoped for: at most 1.02)",
            lambda r: r["form"] == "attach, computed",
            "network",
        ),
        (
            "step_alone",
            f"the pull alone over reading and writing once, {largest:,} parameters "
            "(hoped for: at most 1.25)",
            lambda r: r["form"].startswith("computed") and r["parameters"] == str(largest),
            "what",
        ),
        ("graphs", "time of a step of fit_many over that compiled", lambda r: True, "models"),
    ]
    for name, words, chosen, key in targets:
        rows = [row for row in _rows(out / f"{name}.csv") if chosen(row)]
        if rows:
            yield f"- {words}"
        for row in rows:
            spread = f"{row['ratio']} ({row['ratio_low']} to {row['ratio_high']})"
            yield f"  - {row[key]}, {row['form']}: {spread}"


def _records(out: Path) -> Iterable[str]:
    for file in sorted(out.glob("*-*.csv")):
        facts = json.loads(file.with_suffix(".json").read_text())
        rows = _rows(file)
        if "preset" not in facts or not rows or "seed" not in rows[0]:
            continue
        last = max(int(row["step"]) for row in rows)
        ends = [row for row in rows if int(row["step"]) == last]
        column = next((c for c in ("accuracy", "probe_last") if c in rows[0]), "train_loss")
        seeds = {row["seed"] for row in rows}
        yield f"- {file.stem}: {len(seeds)} seeds, {facts['seconds']} s on {facts['device']}"
        for arm in dict.fromkeys((row["arm"], row["weight_decay"]) for row in ends):
            values = [
                float(row[column] or "nan")
                for row in ends
                if (row["arm"], row["weight_decay"]) == arm
            ]
            mean = sum(values) / len(values)
            yield f"  - {arm[0]}, weight_decay {arm[1] or 0}: {column} {mean:.4f}"


def _rows(file: Path) -> list[Row]:
    if not file.exists():
        return []
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))
