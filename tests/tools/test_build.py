"""The tools that make the book: what is executed again, what a page gets, and what a failure says.

The tools work in folders named by `chapters`; each test points those at a small book of its own.
"""

import json
import os
import subprocess
import sys

import nbformat
import pytest

from tools.build import assemble, chapters, environment, execute, files, links, nbval, tidy_scripts
from tools.emulate import colab, other_cpus
from tools.publish import landing

KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
PLACEHOLDER = "https://github.com/OWNER/syre-book"
REAL = "https://github.com/someone/their-book"


def notebook(*cells):
    """Return a notebook: strings are Markdown, pairs are code with its tags."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": KERNELSPEC, "syre": {}})
    for number, cell in enumerate(cells):
        if isinstance(cell, str):
            made.cells.append(nbformat.v4.new_markdown_cell(cell, id=f"cell-{number}"))
        else:
            source, *tags = cell
            node = nbformat.v4.new_code_cell(source, id=f"cell-{number}")
            node.metadata["tags"] = tags
            made.cells.append(node)
    return made


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A repository with two chapters that need no package, so that a kernel starts fast."""
    for name, value in {
        "ROOT": tmp_path,
        "BOOK": tmp_path / "book",
        "PACKAGE": tmp_path / "syre_helpers",
        "BUILD": tmp_path / "_build",
        "EXECUTED": tmp_path / "_build" / "executed",
        "SOURCE": tmp_path / "_build" / "source",
    }.items():
        monkeypatch.setattr(chapters, name, value)
    (tmp_path / "book" / "trap").mkdir(parents=True)
    (tmp_path / "syre_helpers").mkdir()
    (tmp_path / "syre_helpers" / "__init__.py").write_text("A = 1\n")
    (tmp_path / "syre_helpers" / "other.py").write_text("B = 2\n")
    (tmp_path / "constraints.txt").write_text("torch==2.0\n")
    (tmp_path / "pyproject.toml").write_text(f'[project.urls]\nRepository = "{PLACEHOLDER}"\n')
    (tmp_path / "_config.yml").write_text("title: A book\n")
    (tmp_path / "_toc.yml").write_text(
        "root: book/intro\nparts:\n- chapters:\n  - file: book/trap/one\n  - file: book/trap/two\n"
    )
    (tmp_path / "book" / "intro.md").write_text("# Hello\n")
    save("trap/one", notebook("# One\n\nWhy?", ("print(6 * 7)",)))
    save("trap/two", notebook("# Two\n\nHow?", ("x = 1",)))
    return tmp_path


def save(name, made):
    nbformat.write(made, chapters.BOOK / f"{name}.ipynb")


def executed(name, text="42\n", **extra):
    """Write what an execution of a chapter would have left behind."""
    source, target, record_file = execute.paths(name)
    done = nbformat.read(source, as_version=4)
    for cell in done.cells:
        if cell.cell_type == "code":
            cell.execution_count = 1
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    record = {
        "key": execute.key(done),
        "package": {k: v for k, v in execute.package_hashes().items() if k.endswith("__init__.py")},
        "seconds": 12.34,
        "peak_mb": 456.7,
        "stderr": [],
        "date": "2026-01-02",
        "machine": execute.machine(),
    } | extra
    files.write(target, nbformat.writes(done))
    files.write(record_file, json.dumps(record))


# --- which chapters there are -----------------------------------------------------------------


def test_chapters_come_in_the_order_of_the_table_of_contents(book):
    assert chapters.pages(book / "_toc.yml") == ["book/intro", "book/trap/one", "book/trap/two"]
    assert chapters.chapters() == ["trap/one", "trap/two"]


def test_a_chapter_can_be_named_in_several_ways():
    for wanted in ("trap/two", "book/trap/two", "book/trap/two.ipynb"):
        assert chapters.select(["trap/one", "trap/two"], [wanted]) == ["trap/two"]
    assert chapters.select(["trap/one"], []) == ["trap/one"]
    with pytest.raises(SystemExit, match=r"No chapter trap/three.*There are: trap/one"):
        chapters.select(["trap/one"], ["trap/three"])


def test_write_leaves_an_unchanged_file_alone(tmp_path):
    file = tmp_path / "a" / "b.txt"
    assert files.write(file, "x")
    os.utime(file, (1, 1))
    assert not files.write(file, "x")
    assert file.stat().st_mtime == 1
    assert files.write(file, "y")
    assert [f.name for f in file.parent.iterdir()] == ["b.txt"], "no temporary file stays"


# --- what is executed again -------------------------------------------------------------------


def test_prose_costs_nothing_and_code_and_tags_and_pins_do(book):
    executed("trap/one")
    assert execute.load_record("trap/one")
    save("trap/one", notebook("# One\n\nOther prose.", ("print(6 * 7)",), "More."))
    assert execute.load_record("trap/one")
    save("trap/one", notebook("# One", ("print(6 * 7)", "raises-exception")))
    assert execute.load_record("trap/one") is None
    save("trap/one", notebook("# One", ("print(6 * 8)",)))
    assert execute.load_record("trap/one") is None
    save("trap/one", notebook("# One", ("print(6 * 7)",)))
    assert execute.load_record("trap/one")
    (book / "constraints.txt").write_text("torch==2.1\n")
    assert execute.load_record("trap/one") is None


def test_only_files_of_the_package_that_were_loaded_count(book):
    executed("trap/one")
    (book / "syre_helpers" / "other.py").write_text("B = 3\n")
    assert execute.load_record("trap/one")
    (book / "syre_helpers" / "__init__.py").write_text("A = 2\n")
    assert execute.load_record("trap/one") is None
    (book / "syre_helpers" / "__init__.py").unlink()
    assert execute.load_record("trap/one") is None


def test_a_failed_execution_is_reported_and_fails(book, monkeypatch, capsys):
    monkeypatch.setattr(execute, "execute_apart", lambda name: (1.0, "ValueError: no"))
    assert not execute.execute(["trap/one"], jobs=1)
    out = capsys.readouterr().out
    assert "[1/1] trap/one: FAILED after 1.0 s\nValueError: no" in out
    assert "These chapters failed: trap/one" in out


def test_a_warning_is_a_note_and_in_a_strict_build_an_error(book, capsys):
    executed("trap/one", stderr=["code cell 1: UserWarning: odd"])
    assert execute.execute(["trap/one"], jobs=1)
    assert "note: trap/one wrote to stderr in code cell 1" in capsys.readouterr().out
    assert not execute.execute(["trap/one"], jobs=1, strict=True)


# --- executing for real -----------------------------------------------------------------------


def execute_really(name):
    """Execute a chapter with the test's folders, in another process, as the tool does."""
    program = (
        "import sys, pathlib\nfrom tools.build import chapters, execute\n"
        f"root = pathlib.Path({str(chapters.ROOT)!r})\n"
        "chapters.ROOT, chapters.BOOK, chapters.PACKAGE = root, root/'book', root/'syre_helpers'\n"
        "chapters.BUILD, chapters.EXECUTED = root/'_build', root/'_build'/'executed'\n"
        f"sys.exit(execute.run_here({name!r}))\n"
    )
    path = os.pathsep.join([str(chapters.ROOT), str(execute.TOP)])
    return subprocess.run(
        [sys.executable, "-c", program],
        env=execute.environment() | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_execution_records_outputs_memory_and_dependencies(book):
    code = "import sys\nimport syre_helpers\nprint(syre_helpers.A)\nprint('odd', file=sys.stderr)"
    save("trap/one", notebook("# One\n\nWhy?", (code,)))
    done = execute_really("trap/one")
    assert done.returncode == 0, done.stdout + done.stderr
    target, record_file = execute.paths("trap/one")[1:]
    record = json.loads(record_file.read_text())
    assert list(record["package"]) == ["syre_helpers/__init__.py"], "other.py was not loaded"
    assert record["stderr"] == ["code cell 1: odd"]
    assert 20 < record["peak_mb"] < 1000
    cells = nbformat.read(target, as_version=4).cells
    assert len(cells) == 2, "the question about dependencies leaves no cell behind"
    assert cells[1].outputs[0].text == "1\n"
    assert "execution" not in cells[1].metadata


def test_a_failing_cell_is_named_with_its_traceback(book):
    save("trap/one", notebook("# One\n\nWhy?", ("a = 1",), ("assert a == 2, 'a is not two'",)))
    done = execute_really("trap/one")
    assert done.returncode == 1
    assert "In book/trap/one.ipynb" in done.stdout
    assert "assert a == 2" in done.stdout
    assert "AssertionError" in done.stdout
    assert "a is not two" in done.stdout
    assert not execute.paths("trap/one")[1].exists(), "nothing half-done is left"


def test_a_chapter_that_prints_something_else_the_second_time_fails(book, monkeypatch, capfd):
    save("trap/one", notebook("# One\n\nWhy?", ("import os\nprint(os.getpid())",)))
    save("trap/two", notebook("# Two\n\nHow?", ("print(object())\nprint(6 * 7)",)))
    for name in ("trap/one", "trap/two"):
        assert execute_really(name).returncode == 0
    monkeypatch.setattr(sys, "argv", ["nbval.py", "--jobs", "1"])
    assert nbval.main() == 1
    out = capfd.readouterr().out
    assert "Cell outputs differ" in out
    assert "1 failed, 1 passed" in out, "an address in memory may differ, a number may not"


def test_repeating_without_chapters_is_no_failure(book, monkeypatch, capsys):
    (book / "_toc.yml").write_text("root: book/intro\n")
    monkeypatch.setattr(sys, "argv", ["nbval.py"])
    assert nbval.main() == 0
    assert "No chapters" in capsys.readouterr().out


# --- what a page gets -------------------------------------------------------------------------


def test_outputs_go_into_the_new_prose_and_a_banner_after_the_title(book):
    executed("trap/one")
    save("trap/one", notebook("# One\n\nNew prose.", "More.", ("print(6 * 7)",)))
    assemble.assemble(["trap/one", "trap/two"])
    page = nbformat.read(chapters.SOURCE / "book" / "trap" / "one.ipynb", as_version=4)
    assert [c.cell_type for c in page.cells] == ["markdown", "markdown", "markdown", "code"]
    assert page.cells[0].source == "# One\n\nNew prose."
    assert "12 s" in page.cells[1].source
    assert "457 MB" in page.cells[1].source
    assert page.cells[3].outputs[0].text == "42\n"
    other = nbformat.read(chapters.SOURCE / "book" / "trap" / "two.ipynb", as_version=4)
    assert "not executed" in other.cells[1].source


def test_assembling_again_touches_nothing_and_forgets_what_is_gone(book):
    executed("trap/one")
    (book / "book" / "old.md").write_text("# Old\n")
    assemble.assemble(["trap/one"])
    files = [f for f in chapters.SOURCE.rglob("*") if f.is_file()]
    for file in files:
        os.utime(file, (1, 1))
    (book / "book" / "old.md").unlink()
    assemble.assemble(["trap/one"])
    left = [f for f in chapters.SOURCE.rglob("*") if f.is_file()]
    assert {f.name for f in files} - {f.name for f in left} == {"old.md"}
    assert all(f.stat().st_mtime == 1 for f in left)


def test_banner_names_data_and_links_only_to_a_real_address():
    facts = {"data": "MNIST", "download_mb": 11}
    record = {"seconds": 9.6, "peak_mb": 512.3}
    hidden = assemble.banner("trap/one", facts, record, PLACEHOLDER)
    assert "**10 s** and **512 MB**" in hidden
    assert "data: MNIST, 11 MB to download" in hidden
    assert "http" not in hidden
    shown = assemble.banner("trap/one", facts, record, REAL)
    assert "someone/their-book/blob/main/book/trap/one.ipynb" in shown
    assert "someone/their-book/main?labpath=book/trap/one.ipynb" in shown


def test_timings_list_each_executed_chapter_by_its_title(book):
    assert "No chapter" in assemble.timings(["trap/one"])
    executed("trap/one")
    text = assemble.timings(["trap/one", "trap/two"])
    assert "| [One](../trap/one.ipynb) | 12.3 | 457 | 2026-01-02 |" in text
    assert "Two" not in text


# --- addresses --------------------------------------------------------------------------------


def test_a_new_address_reaches_every_place_and_switches_the_buttons_on(tmp_path):
    for name in ("_config.yml", "README.md", "CITATION.cff"):
        (tmp_path / name).write_bytes((chapters.ROOT / name).read_bytes())
    (tmp_path / "book").mkdir()
    setup = (links.setup_cell(PLACEHOLDER), links.SETUP_TAG)
    nbformat.write(notebook("# One", setup), tmp_path / "book" / "one.ipynb")
    texts = {file.name: text for file, text in links.outdated(tmp_path, REAL).items()}
    assert set(texts) == {"_config.yml", "README.md", "CITATION.cff", "one.ipynb"}
    for text in texts.values():
        assert REAL.removeprefix("https://github.com/") in text
        assert "OWNER" not in text
    assert "use_repository_button: true" in texts["_config.yml"]
    assert "colab_url: https://colab" in texts["_config.yml"]
    assert "someone.github.io/their-book" in texts["README.md"]
    for name, text in texts.items():
        (tmp_path / ("book" if name.endswith("ipynb") else "") / name).write_text(text)
    assert not links.outdated(tmp_path, REAL), "once is enough"
    assert "use_repository_button: false" in links.in_config(texts["_config.yml"], PLACEHOLDER)


def test_links_leave_a_first_cell_alone_that_is_not_the_setup_cell():
    text = nbformat.writes(notebook("# One", ("import torch",)))
    assert links.in_notebook(text, REAL) == text


# --- the environment --------------------------------------------------------------------------


def test_cpu_torch_is_offered_only_where_nothing_better_is_known(monkeypatch):
    asked = []

    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    def urlopen(request, timeout):
        asked.append(request.full_url)
        return Answer()

    monkeypatch.setattr(environment.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(environment.platform, "system", lambda: "Linux")
    monkeypatch.setattr(environment.shutil, "which", lambda _: None)
    assert environment.wants_cpu_torch({"find-links": ""})
    assert not environment.wants_cpu_torch({"find-links": "a/folder/of/wheels"})
    monkeypatch.setattr(environment.shutil, "which", lambda _: "nvidia-smi")
    assert not environment.wants_cpu_torch({"find-links": ""})
    monkeypatch.setattr(environment.platform, "system", lambda: "Darwin")
    assert not environment.wants_cpu_torch({"find-links": ""})
    assert len(asked) == 1


def test_no_network_means_no_cpu_index(monkeypatch):
    def urlopen(request, timeout):
        raise OSError("unreachable")

    monkeypatch.setattr(environment.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(environment.platform, "system", lambda: "Linux")
    monkeypatch.setattr(environment.shutil, "which", lambda _: None)
    assert not environment.wants_cpu_torch({"find-links": ""})


def test_an_old_python_is_told_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(environment.sys, "version_info", (3, 10, 0))
    assert environment.main(tmp_path / "venv", "book") == 1
    assert "Python 3.11 or newer is needed" in capsys.readouterr().out
    assert not (tmp_path / "venv").exists()


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


def test_the_moving_picture_shows_what_its_caption_says():
    plain, syre = (landing.simulate(sigma) for sigma in landing.ARMS.values())
    assert (plain[0] - syre[0]).abs().max() == 0, "both start alike"
    assert (plain[-1].prod(1) - 1).abs().min() > 0.9, "every network under decay is still stuck"
    assert (syre[-1].prod(1) - 1).abs().max() < 0.5, "every network under syre has left"


def test_an_empty_corner_of_a_table_is_no_heading():
    html = "<tr><th></th><th>arm</th></tr>"
    output = nbformat.v4.new_output("display_data", {"text/html": html})
    assert assemble.readable(output).data["text/html"] == "<tr><td></td><th>arm</th></tr>"
    stream = nbformat.v4.new_output("stream", text="<th></th>")
    assert assemble.readable(stream).text == "<th></th>"


def test_a_page_without_a_kernel_shows_no_dead_controls():
    view = {assemble.WIDGET: {"model_id": "1"}, "text/plain": "VBox()"}
    shown = assemble.readable(nbformat.v4.new_output("display_data", view))
    assert set(shown.data) == {"text/html"}
    assert "no kernel" in shown.data["text/html"]


@pytest.mark.slow
def test_a_chapter_runs_as_in_colab():
    """The others do so by `make colab`, nightly."""
    chapters.BUILD.mkdir(exist_ok=True)
    assert colab.emulate("trap/reflections") == ""


def test_an_environment_that_the_setup_changed_is_found_out(tmp_path):
    now = execute.machine()
    file = tmp_path / "colab" / "syre_helpers" / "__init__.py"
    assert colab.judged(f"{now['torch']}\n{now['numpy']}\n{file}\n5.0", tmp_path) == ""
    changed = colab.judged(f"2.0.0\n{now['numpy']}\n{file}\n5.0", tmp_path)
    assert "the setup made them" in changed
    assert "came from" in colab.judged(f"{now['torch']}\n{now['numpy']}\n/x/s.py\n5", tmp_path)
    assert "took 99 s" in colab.judged(f"{now['torch']}\n{now['numpy']}\n{file}\n99", tmp_path)


# --- other processors -------------------------------------------------------------------------


def test_every_cell_that_fails_elsewhere_is_named(book):
    cells = ("x = 1",), ("y = 2\nassert x > 5, 'in every seed'",), ("assert y == 2",), ("1 / 0",)
    save("trap/one", notebook("# One\n\nWhy?", *cells))
    assert other_cpus.failures("trap/one") == [
        "code cell 2: AssertionError: in every seed | 2 assert x > 5, 'in every seed'",
        "code cell 4: ZeroDivisionError: division by zero | 1 1 / 0",
    ]
    assert other_cpus.failures("trap/two") == []


def test_processors_that_round_alike_are_run_once(monkeypatch, capsys):
    def probe(command, env, **options):
        rounding = env.get("MKL_CBWR", env.get("ATEN_CPU_CAPABILITY", "own"))
        return subprocess.CompletedProcess(command, 0, {"default": "own"}.get(rounding, rounding))

    for name in other_cpus.PROCESSORS["AVX2"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(other_cpus.subprocess, "run", probe)
    assert other_cpus.different() == ["as it is", "AVX2", "the least"]
    assert "SSE4: rounds as 'as it is' does here" in capsys.readouterr().out
