"""A hub cache made by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

COMMIT = 'c0ffee' * 6 + 'c0de'


def put_in_cache(cache: Path, repo_id: str, folder: Path, branch: str = 'main') -> Path:
    """Lay a folder out as the hub's cache does: blobs, a snapshot of links to them, and a branch that names it."""
    root = cache / f'models--{repo_id.replace("/", "--")}'
    snapshot = root / 'snapshots' / COMMIT
    for path in (root / 'blobs', root / 'refs', snapshot):
        path.mkdir(parents=True)
    for number, path in enumerate(sorted(folder.iterdir())):
        shutil.copy(path, root / 'blobs' / str(number))
        (snapshot / path.name).symlink_to(Path('../../blobs') / str(number))
    (root / 'refs' / branch).write_text(COMMIT)
    return snapshot
