"""The browser that all tests of the pages share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tools.build import chapters
from tools.site_checks import browser


@pytest.fixture(scope="session")
def opened() -> Iterator[tuple[Any, str]]:
    """Yield a browser, and the address of the site."""
    with browser.opened(chapters.HTML) as pair:
        yield pair
