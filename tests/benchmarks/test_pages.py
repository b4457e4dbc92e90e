"""The pages show what the benchmarks recorded, and the programs still measure that."""

import json
from dataclasses import asdict

import nbformat
import pytest

from tools.build import chapters

RESULTS = chapters.ROOT / "results"
COSTS = chapters.BOOK / "remedy" / "what-it-costs.ipynb"
CLUSTER = chapters.BOOK / "reference" / "laptop-to-cluster.md"
TIMINGS = chapters.BOOK / "reference" / "timings.md"
FACTS = ("cpu", "torch", "date")


def words(file):
    """Return the prose of a page, with single spaces."""
    text = file.read_text()
    if file.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return squeezed(text)


def squeezed(text):
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


@pytest.mark.parametrize(
    ("name", "page", "facts"),
    [
        ("step_cost", COSTS, FACTS),
        ("network_cost", COSTS, ("date",)),
        ("computed_cost", COSTS, ()),
        ("many_models", CLUSTER, FACTS),
        ("book_build", TIMINGS, ("cpu", "date")),
    ],
)
def test_the_page_shows_the_recorded_table(program, harness, name, page, facts):
    rows, source = harness.read(RESULTS, name)
    assert source["preset"] == "full"
    assert source["command"] == f"python benchmarks/{name}.py"
    module = program(name)
    now = json.loads(json.dumps(asdict(module.FULL)))
    now.pop("compile", None)  # newer than the record
    assert now.items() <= source["settings"].items(), "the program has changed: record again"
    table = program("network_cost" if name == "computed_cost" else name).table(rows)
    text = words(page)
    assert squeezed(table) in text
    known = {**source["machine"], **source["versions"], "date": source["date"]}
    assert [fact for fact in facts if known[fact] not in text] == []


def test_sentences_about_many_models_have_the_recorded_numbers(program, harness):
    rows, _ = harness.read(RESULTS, "many_models")
    of = {(r["widths"], r["batch"], r["models"], r["form"]): r["ratio"] for r in rows}
    plain, compiled = (of["64-32-10", 32, 32, form] for form in ("many", "many, compiled"))
    wide = {batch: of["784-128-10", batch, 32, "many"] for batch in (32, 128)}
    page = CLUSTER.read_text()
    for sentence in (
        f"of 32, {plain:.0f} times",
        f"makes it {compiled:.0f} times",
        f"a factor of {wide[32]:.1f}, and with batches of 128 only {wide[128]:.1f}",
        f"those alone would gain {of['784-128-10', 128, 32, 'matrix products']:.1f}.",
    ):
        assert sentence in page


def test_the_recorded_growth_is_a_full_run_of_the_program(growth, harness):
    rows, source = harness.read(RESULTS, "growth")
    assert source["preset"] == "full"
    now = json.loads(json.dumps(asdict(growth.FULL)))
    assert now.items() <= (source["settings"] | {"device": now["device"]}).items()
    measured = [r for r in rows if r["kind"] == "measured"]
    assert [(r["curve"], r["size"], r["arms"], r["seeds"]) for r in measured] == [
        (p.curve, p.size, p.arms, p.seeds) for p in growth.points(growth.FULL)
    ]
    for row in measured:
        assert row["steps"] >= growth.FEWEST
        assert row["step_ms_low"] <= row["step_ms"] <= row["step_ms_high"]
    # What is extrapolated has no spread, nor any steps.
    beyond = [r for r in rows if r["kind"] == "extrapolated"]
    assert len(beyond) == 2 * len({r["curve"] for r in rows})
    for row in beyond:
        assert (row["step_ms_low"], row["start_s"], row["steps"]) == (None, None, 0)
