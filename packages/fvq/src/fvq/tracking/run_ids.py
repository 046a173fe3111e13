"""Under which id each tracker knows a run, so that a resumed run continues there."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

from fvq_core.files.json import read_json, write_json

TRACKERS_NAME = 'trackers.json'  # in a work dir
ID = re.compile(r'[A-Za-z0-9_-]{1,128}')  # which becomes a part of paths


def known_id(config: Any, tracker: str) -> str | None:
    """The id of the run that a config resumes; None for a fresh run, or one that this tracker has not seen.

    A work dir may be a stranger's: what is no id is not taken for one.
    """
    known = read_json(Path(config.work_dir) / TRACKERS_NAME) or {}
    run_id = known.get(tracker) if config.get('resume') else None
    return run_id if isinstance(run_id, str) and ID.fullmatch(run_id) else None


def keep_id(config: Any, tracker: str, run_id: str) -> None:
    """Keep the id of a run in its work dir."""
    path = Path(config.work_dir) / TRACKERS_NAME
    write_json(path, {**(read_json(path) or {}), tracker: run_id})


def new_id() -> str:
    """An id that no other run has."""
    return uuid.uuid4().hex[:12]
