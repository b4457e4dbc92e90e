"""A headless Chromium that sees the built site, for the tools that look at pages and print them.

Chromium is found on the PATH, or as $CHROMIUM; Playwright, which drives it, is in the extra
`browser`.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# Chromium itself must ask nobody for anything either.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PATIENCE = 120_000  # ms; the whole book as one page takes long
READY = """(window.MathJax?.startup?.promise ?? Promise.resolve())
  .then(() => document.fonts.ready).then(() => true)"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves the site without a line for every request."""

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Does not mind a browser that leaves a page before all of it has come."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a broken connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Any, str]]:
    """Give a running browser, and the address at which a folder is served to it."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit(
            "Playwright is not here: install the extra `browser` into the environment, "
            "`pip install -c constraints.txt -e '.[browser]'`."
        )
    program = chromium()
    server = serve(folder)
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=program, args=FLAGS)
            yield browser, f"http://localhost:{server.server_address[1]}/"
            browser.close()
    finally:
        server.shutdown()
        server.server_close()


def chromium() -> str:
    """Return the path of the browser."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "google-chrome")
    found = next(filter(None, map(shutil.which, filter(None, names))), None)
    if found is None:
        sys.exit("No Chromium was found: install it, or name it in $CHROMIUM.")
    return found


def serve(folder: Path) -> Server:
    """Serve a folder on a free port of this machine."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = Server(("localhost", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def show(tab: Any, address: str) -> None:
    """Open a page, and wait until its pictures have come and its formulas are set."""
    tab.goto(address, wait_until="networkidle", timeout=PATIENCE)
    tab.evaluate(READY)
