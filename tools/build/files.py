"""How the tools write and remember: files whole or not at all, and results that still hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4


def write(path: Path, content: str | bytes) -> bool:
    """Write a file whole or not at all; leave it alone, date and all, when nothing changes.

    Returns
    -------
    bool
        True where the file is new or has changed.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return True


def digest(*parts: bytes | str) -> str:
    """Return a hash of a few strings."""
    encoded = (part.encode() if isinstance(part, str) else part for part in parts)
    return hashlib.sha256(b"\0".join(encoded)).hexdigest()


def kept(file: Path, key: str, make: Callable[[], str]) -> str:
    """Return the text of `make()`, read from `file` where it was last made for the same key."""
    if file.exists():
        was, text = json.loads(file.read_text())
        if was == key:
            return str(text)
    text = make()
    write(file, json.dumps([key, text]))
    return text
