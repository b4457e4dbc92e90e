"""The README's Python runs as it stands, in order, and prints what the README shows."""

import page_blocks
from tools.build import chapters

PAGE = chapters.ROOT / "README.md"


def test_the_readme_runs_as_it_stands():
    namespace = {"__name__": "__main__"}
    said = page_blocks.run(PAGE, namespace)
    assert len(page_blocks.blocks(PAGE)) >= 3
    assert "Collapse" in said
    assert namespace["report"].alarms
    assert namespace["handle"].named, "syre is attached"
