"""A Sphinx extension: each page gets each of its scripts once, none in vain, and responds early.

jupyter-book loads sphinx-thebe whether it is wanted or not, and adds its constants twice, which is
an error in the browser's console on every page. No page here runs code through thebe. Setting the
formulas takes longer than all else that a page does when it opens: it waits until the page has
been painted, and then goes a few formulas at a time, from the top, so that the page answers.
"""

from __future__ import annotations

from typing import Any

# The theme folds pages under a page behind an arrow without a name.
FOLDS = """addEventListener('DOMContentLoaded', () => {
  for (const fold of document.querySelectorAll('.bd-links summary')) {
    const page = fold.closest('li').querySelector('a').textContent.trim();
    fold.setAttribute('aria-label', `Pages of ${page}`);
  }
});"""
FORMULAS = """if (window.MathJax) MathJax.startup = {pageReady: async () => {
  const formulas = [...document.querySelectorAll('.math')];
  while (formulas.length) {
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    await MathJax.typesetPromise(formulas.splice(0, 10));
  }
}};"""


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    # Late, when all other extensions have added theirs.
    app.connect("html-page-context", tidy, priority=900)
    app.add_js_file(None, body=FOLDS)
    # After MathJax's settings (500), which would overwrite it; MathJax itself comes deferred.
    app.add_js_file(None, body=FORMULAS, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def tidy(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Leave out repeated scripts, and thebe's."""
    kept: dict[str, Any] = {}
    for script in context.get("script_files", []):
        attributes = getattr(script, "attributes", {})
        said = f"{getattr(script, 'filename', script)} {attributes.get('body')}"
        if "thebe" not in said:
            kept.setdefault(said, script)
    context["script_files"] = list(kept.values())
