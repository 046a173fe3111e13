"""JSON files: read within a size limit, and written all or nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from .atomic import write_atomically
from .bounded import read_bounded

MAX_BYTES = 2**26
DAMAGED = 'write it again'


def parse_json(text: str | bytes, name: str, remedy: str = DAMAGED) -> Any:
    """The value of a JSON text from the file `name`; a `UserError` with the reason and `remedy` if it is not valid."""
    try:
        return json.loads(text.decode() if isinstance(text, bytes) else text)
    except RecursionError:
        reason = 'it is nested too deep'
    except UnicodeDecodeError as error:
        reason = f'byte {error.start} is not UTF-8'
    except json.JSONDecodeError as error:
        reason = 'it starts with a byte order mark' if error.doc.startswith('\ufeff') else str(error)
    except ValueError:
        reason = 'a number has too many digits'
    except MemoryError:
        reason = 'it does not fit into memory'
    raise UserError(f'{name} is not valid JSON: {reason}; {remedy}.')


def read_json_value(path: str | Path, remedy: str = DAMAGED) -> Any:
    """The value in a JSON file; a UserError if it is missing, larger than `MAX_BYTES`, or not valid JSON."""
    return parse_json(read_bounded(path, MAX_BYTES, remedy), str(path), remedy)


def read_json_object(path: str | Path, remedy: str = DAMAGED) -> dict[str, Any]:
    """The object in a JSON file; a UserError as in `read_json_value`, or if it holds a list, text or a number."""
    found = read_json_value(path, remedy)
    if not isinstance(found, dict):
        raise UserError(f'{path}: expected a JSON object, got a {type(found).__name__}; {remedy}.')
    return found


def read_json(path: str | Path) -> dict[str, Any] | None:
    """The object in a JSON file of our own; None if the file does not exist or is damaged."""
    try:
        return read_json_object(path)
    except UserError:
        return None


def write_json(path: Path, document: Any) -> None:
    """Write JSON, all or nothing; NaN and infinity, which are not JSON, become null."""
    text = json.dumps(finite(document), indent=2, allow_nan=False)
    write_atomically(path, f'{text}\n'.encode(), 'What was there before is intact.', flush=False)


def finite(document: Any) -> Any:
    """A value with None in place of non-finite floats."""
    if isinstance(document, float):
        return document if math.isfinite(document) else None
    if isinstance(document, Mapping):
        return {key: finite(value) for key, value in document.items()}
    return [finite(value) for value in document] if isinstance(document, list | tuple) else document
