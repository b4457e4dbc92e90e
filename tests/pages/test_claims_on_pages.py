"""What the pages claim about syre fails when syre does nothing.

Each chapter with such claims is run with theta_0 = 0 and D = 1, which is plain decay. Every
assertion in a cell tagged ``claims-syre`` must then be false.
"""

import ast

import pytest
import torch

import syre_helpers as sh
from notebooks import NOTEBOOKS, code_cells
from syre_helpers.removal.theta_0 import Specification

TAG = "claims-syre"


def is_claim(cell):
    return TAG in cell.metadata.get("tags", [])


CHAPTERS = [n for n in NOTEBOOKS if any(map(is_claim, code_cells(n)))]


class RecordAsserts(ast.NodeTransformer):
    """Turn ``assert condition, message`` into a call that records whether the condition held."""

    def visit_Assert(self, node):
        record = ast.parse(f"_record({node.lineno}, None)", mode="eval").body
        record.args[1] = node.test
        return ast.copy_location(ast.fix_missing_locations(ast.Expr(record)), node)


def run(notebook):
    """Run a chapter; return, for each assertion in a tagged cell, what its condition was."""
    outcomes = {}
    namespace = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook)):
        tree = ast.parse(cell.source)
        claims = is_claim(cell)
        if claims:
            tree = RecordAsserts().visit(tree)

            def record(line, held, number=number):
                outcomes.setdefault((number, line), []).append(bool(held))

            namespace["_record"] = record
        code = compile(ast.fix_missing_locations(tree), f"{notebook.stem}, cell {number}", "exec")
        try:
            exec(code, namespace)
        except AssertionError:
            # Other claims may depend on syre too; they need not hold here.
            assert not claims
    return outcomes


@pytest.fixture
def without_syre(monkeypatch):
    """Replace theta_0 by 0 and D by 1, and leave out what only draws."""
    for values in ("theta_0", "D_minus_1"):
        monkeypatch.setattr(
            Specification, values, lambda self, i, dtype: torch.zeros_like(i).to(dtype)
        )
    monkeypatch.setattr(sh.interactive, "FrameSlider", lambda *args, **kwargs: None)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", CHAPTERS, ids=lambda path: path.stem)
def test_claims_about_syre_fail_without_it(notebook, without_syre):
    outcomes = run(notebook)
    assert outcomes, "a tagged cell without an assertion claims nothing"
    held = [f"cell {n}, line {line}" for (n, line), results in outcomes.items() if all(results)]
    assert not held, f"these claims hold without syre too: {held}"
