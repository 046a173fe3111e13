"""The Hugging Face hub: a repository into the local cache, a saved folder into a repository."""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from .. import __version__
from ..errors import UserError
from .hub_errors import FAILURES, fetch_failure, push_failure
from .kind import CONFIG_NAME, WEIGHTS_NAME, SavedKind
from .model_card import LIBRARY

FILES = (CONFIG_NAME, WEIGHTS_NAME)
REPO_ID = re.compile(r'[A-Za-z0-9][\w.-]*/[\w.-]+')


def push_folder(
    save: Callable[[Path], object],
    repo_id: str,
    *,
    private: bool | None,
    token: str | None,
    branch: str | None,
    create_pr: bool,
    commit_message: str,
) -> str:
    """Save to a temporary folder and push it in one commit; see `SavedModel.push_to_hub`.

    Nothing is made on the hub unless `save`, which writes the folder that it is given, worked.
    """
    check_repo_id(repo_id)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / 'saved'
        save(folder)
        try:
            api = HfApi(token=token)
            made = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            options: dict[str, Any] = dict(commit_message=commit_message, revision=branch, create_pr=create_pr)
            return str(api.upload_folder(repo_id=made, folder_path=folder, **options))
        except (*FAILURES, ValueError) as error:  # ValueError: the hub found the card's metadata invalid
            # The chain of HTTP errors says nothing that the line does not.
            raise UserError(f"push_to_hub: '{repo_id}' was not pushed: {push_failure(error, branch)}") from None


def check_repo_id(repo_id: str) -> None:
    """Raise a `UserError` if an id is not of the form `user/name`."""
    if not is_repo_id(repo_id):
        raise UserError(f"'{repo_id}' is not a repository id; expected user/name, such as 'ada/fvq-photos'.")


def is_repo_id(name: str) -> bool:
    """Whether the hub could have a repository of that name; ids without a user are not taken."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return REPO_ID.fullmatch(name) is not None


def fetch(source: str | os.PathLike[str], kind: SavedKind, revision: str | None, **options: Any) -> Path:
    """The folder in the local cache with the files of a saved model in a repository, all of one commit.

    What is cached is not downloaded again; without a network, the cached copy is used.

    Args:
        source: `user/name`. A `Path` object is never taken for one.
        revision: Branch, tag or commit; None for `main`.
        options: Passed to `snapshot_download`: cache_dir, token, local_files_only.
    """
    if not isinstance(source, str) or not is_repo_id(source):
        raise UserError(f'{source} is not a saved {kind.name}: {not_a_folder(source)}, nor is it user/name on the hub.')
    names = [name + file for name in ('', *(f'{part}/' for part in kind.parts)) for file in FILES]
    library: dict[str, Any] = dict(library_name=LIBRARY, library_version=__version__)
    try:
        snapshot = Path(snapshot_download(source, revision=revision, allow_patterns=names, **library, **options))
    except FAILURES as error:
        offline = options['local_files_only'] or constants.HF_HUB_OFFLINE
        cache = options['cache_dir'] or constants.HF_HUB_CACHE
        why = fetch_failure(error, revision or 'main', f'{cache}', offline)
        # The chain of HTTP errors says nothing that the line does not.
        raise UserError(f"no {kind.name} '{source}': {not_a_folder(source)}, and {why}") from None
    missing = [name for name in FILES if not (snapshot / name).is_file()]
    if missing:
        raise UserError(
            f"'{source}' on the hub ({revision or 'main'}) is not a saved {kind.name}: {snapshot} has no "
            f'{" and no ".join(missing)}; if its download was cut off, load it again with a network.'
        )
    return snapshot


def not_a_folder(source: str | os.PathLike[str]) -> str:
    """What a local look-up found, with the nearest name beside it."""
    path = Path(source)
    if path.is_file():
        return 'it is a file, not a folder (tools/export.py makes one of a checkpoint)'
    siblings = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1)
    hint = f" (did you mean '{path.with_name(close[0])}'?)" if close else ''
    return f'there is no such folder{hint}'
