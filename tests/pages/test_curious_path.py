"""The path for the curious names its sections, and takes as long as the landing page says."""

import re

import nbformat

from tools.build import chapters

WORDS_PER_MINUTE = 200
MINUTES = {"picture": 1.0, "slider": 2.0, "equation": 0.5}
SECTION = re.compile(r"\]\(([^)#]+\.ipynb)#([^)]+)\)")


def slug(heading):
    return "-".join(re.sub(r"[^\w\s-]", "", heading.lower()).split())


def words(text):
    return len(re.findall(r"[A-Za-z0-9][\w'’-]*", text))


def prose_minutes(text):
    """Minutes for text with formulas; a link counts as its words, a formula in a line as one."""
    text = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    text, equations = re.subn(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    text = re.sub(r"\$[^$]*\$", "x", re.sub(r"\]\([^)]*\)", "]", text))
    return words(text) / WORDS_PER_MINUTE + equations * MINUTES["equation"]


def figure_minutes(source):
    caption = re.search(r"caption=(.*?)\n\s+number", source, flags=re.DOTALL)
    shown = source.count("Picture(") * MINUTES["picture"]
    shown += source.count("FrameSlider(") * MINUTES["slider"]
    return shown + words(caption[1] if caption else "") / WORDS_PER_MINUTE


def sections(file):
    """Minutes of each section by its slug, without the code; "" is what stands before the first."""
    minutes, here = {"": 0.0}, ""
    for cell in nbformat.read(file, as_version=4).cells:
        if cell.cell_type == "code":
            minutes[here] += figure_minutes(cell.source)
            continue
        for part in re.split(r"^(#{2,3} .*)$", cell.source, flags=re.MULTILINE):
            if re.match(r"#{2,3} ", part):
                here = slug(part.lstrip("# "))
                minutes.setdefault(here, 0.0)
            else:
                minutes[here] += prose_minutes(part)
    return minutes


def test_the_curious_need_the_half_hour_that_the_landing_page_says():
    page = (chapters.BOOK / "intro.md").read_text()
    card = re.search(r"You are curious\n(.*?)\n:::", page, flags=re.DOTALL)[1]
    assert card.startswith("Thirty minutes")
    named = SECTION.findall(card)
    files = dict.fromkeys(file for file, _ in named)
    minutes = {file: sections(chapters.BOOK / file) for file in files}
    for file, section in named:
        assert section in minutes[file], (file, section)
    total = sum(minutes[file][section] for file, section in named)
    total += sum(minutes[file][""] for file in files)
    assert 25 < total < 32, total
