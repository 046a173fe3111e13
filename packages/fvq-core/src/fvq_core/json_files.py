"""Reading JSON that a process may have been killed over, and writing it all or nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .atomic_files import write_atomically


def read_json(path: Path) -> Any | None:
    """What a JSON file holds; None where there is no such file, or only a part of one."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def write_json(path: Path, document: Any) -> None:
    """Write JSON, all or nothing; what is not finite becomes null, for NaN and Infinity are no JSON.

    Raises:
        UserError: The file cannot be written.
    """
    text = json.dumps(finite(document), indent=2, allow_nan=False)
    write_atomically(path, f'{text}\n'.encode(), 'What was there before is intact.', flush=False)


def finite(document: Any) -> Any:
    """The same with None in place of floats that are not finite."""
    if isinstance(document, float):
        return document if math.isfinite(document) else None
    if isinstance(document, Mapping):
        return {key: finite(value) for key, value in document.items()}
    return [finite(value) for value in document] if isinstance(document, list | tuple) else document
