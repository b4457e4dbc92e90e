"""Write the README's picture: `python -m tools.publish.readme_figure`.

It is the main figure of the chapter on syre, taken from the executed chapter (`make execute
ONLY=remedy/syre` first), so that the README shows what the book shows.
"""

from __future__ import annotations

import base64
import re
import sys

import nbformat

from tools.build import chapters, files

CHAPTER = "remedy/syre"
ALT = "Steps until the new target is learned"
PICTURE = chapters.BOOK / "_static" / "overview.png"
IMAGE = re.compile(r'<img[^>]* alt="([^"]*)"[^>]* src="data:image/png;base64,([^"]+)"')


def main() -> int:
    """Find the figure by the beginning of its alt text, and write it."""
    executed = chapters.EXECUTED / f"{CHAPTER}.ipynb"
    if not executed.exists():
        print(f"{CHAPTER} has not been executed yet: `make execute ONLY={CHAPTER}`.")
        return 1
    for cell in nbformat.read(executed, as_version=4).cells:
        for output in cell.get("outputs", []):
            found = IMAGE.search(output.get("data", {}).get("text/html", ""))
            if found and found[1].startswith(ALT):
                files.write(PICTURE, base64.b64decode(found[2]))
                print(f"{PICTURE}: {found[1]}")
                return 0
    print(f"{CHAPTER} shows no figure whose alt text begins with {ALT!r}.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
