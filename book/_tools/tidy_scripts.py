"""A Sphinx extension: each page gets each of its scripts once, and none that it does not use.

jupyter-book loads sphinx-thebe whether it is wanted or not, and adds its constants twice, which is
an error in the browser's console on every page. No page here runs code through thebe.
"""

from __future__ import annotations

from typing import Any


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    # Late, when all other extensions have added theirs.
    app.connect("html-page-context", tidy, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def tidy(
    app: Any, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leave out repeated scripts, and thebe's."""
    kept: dict[str, Any] = {}
    for script in context.get("script_files", []):
        attributes = getattr(script, "attributes", {})
        said = f"{getattr(script, 'filename', script)} {attributes.get('body')}"
        if "thebe" not in said:
            kept.setdefault(said, script)
    context["script_files"] = list(kept.values())
