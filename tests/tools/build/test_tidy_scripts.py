"""What each page loads."""

from tools.build import tidy_scripts


def test_a_page_gets_each_script_once_and_none_of_thebe():
    class Script:
        def __init__(self, filename=None, body=None):
            self.filename, self.attributes = filename, {"body": body}

    once = [Script("_static/a.js"), Script(body="var x = 1"), Script(body="var y = 1")]
    repeated = [Script(body="var x = 1"), Script("_static/a.js"), Script("_static/sphinx-thebe.js")]
    context = {"script_files": [*once, *repeated, Script(body="const thebe_selector = 1")]}
    tidy_scripts.tidy(None, "page", "page.html", context, None)
    assert context["script_files"] == once
    tidy_scripts.tidy(None, "page", "page.html", {}, None)
