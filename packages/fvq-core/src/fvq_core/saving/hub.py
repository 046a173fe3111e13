"""The Hugging Face hub: a repository into the local cache, a saved folder into a repository."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HFValidationError
from huggingface_hub.hub_mixin import ModelHubMixin
from huggingface_hub.utils import validate_repo_id

from .. import __version__
from ..errors import UserError
from .hub_errors import FAILURES, fetch_failure, push_failure
from .kind import CONFIG_NAME, WEIGHTS_NAME, SavedKind
from .model_card import LIBRARY

FILES = (CONFIG_NAME, WEIGHTS_NAME)
REPO_ID = re.compile(r'[A-Za-z0-9][\w.-]*/[\w.-]+')


class SavedFolder(ModelHubMixin):
    """A folder that `save_folder` wrote, as huggingface_hub's mixin pushes it.

    The mixin is not a base of `SavedModel`, for what it would bring along: its `__new__` keeps the constructor's arguments
    of every instance as a second config, which `fold()` would leave as it was; its `save_pretrained` writes into the
    folder file by file; its `from_pretrained` asks for the config apart from the weights, so that they may come from two
    commits, and goes on when the hub refuses; and it costs a fifth of a second at every import. Only its `push_to_hub` is
    used: make the repository, then all files in one commit.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _save_pretrained(self, save_directory: Path) -> None:
        for path in self.folder.iterdir():
            shutil.move(path, save_directory / path.name)


def push_folder(
    save: Callable[[Path], object],
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
    create_pr: bool = False,
    commit_message: str,
) -> str:
    """Save to a temporary folder and push it; nothing is made on the hub unless saving worked.

    Args:
        save: Writes the folder that it is given.
        repo_id: `user/name`; the repository is made if there is none.
        private: Whether a new repository is private; the account's default where None.
        token: By default the one of `hf auth login` or `HF_TOKEN`.
        branch: An existing branch; the main one by default.
        create_pr: Open a pull request instead of committing to the branch.
        commit_message: First line of the commit.

    Returns:
        The address that the hub gives for it.

    Raises:
        UserError: A bad id, or the hub cannot be reached or refuses.
    """
    check_repo_id(repo_id)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / 'saved'
        save(folder)
        try:
            commit = SavedFolder(folder).push_to_hub(
                repo_id,
                private=private,
                token=token,
                branch=branch,
                create_pr=create_pr,
                commit_message=commit_message,
            )
        except (*FAILURES, ValueError) as error:  # ValueError: the hub found the card's metadata invalid
            # The chain of HTTP errors says nothing that the line does not.
            raise UserError(f"push_to_hub: '{repo_id}' was not pushed: {push_failure(error, branch)}") from None
    return str(commit)


def check_repo_id(repo_id: str) -> None:
    """Raise a `UserError` if an id is not of the form `user/name`."""
    if not is_repo_id(repo_id):
        raise UserError(f"'{repo_id}' is not a repository id; expected user/name, such as 'ada/fvq-photos'.")


def is_repo_id(name: str) -> bool:
    """Whether the hub could have a repository of that name; ids without a user are not taken."""
    if not REPO_ID.fullmatch(name):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def fetch(
    source: str | os.PathLike[str],
    kind: SavedKind,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder in the local cache with the files of a saved model in a repository, all of one commit.

    What is cached is not downloaded again; without a network, the cached copy is used.

    Args:
        source: `user/name`. A `Path` object is never taken for one.
        kind: What the repository should hold.
        revision: Branch, tag or commit; `main` by default.
        cache_dir: The hub's cache folder; by default huggingface_hub's.
        token: For private and gated repositories; by default the one of `hf auth login` or `HF_TOKEN`.
        local_files_only: Use the cache, ask nobody.

    Raises:
        UserError: No such folder and no such repository, revision or file, or no access.
    """
    if not isinstance(source, str) or not is_repo_id(source):
        raise UserError(f'{source} is not a saved {kind.name}: {not_a_folder(source)}, nor is it user/name on the hub.')
    try:
        snapshot = snapshot_download(
            source,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            allow_patterns=[name + file for name in ('', *(f'{part}/' for part in kind.parts)) for file in FILES],
            library_name=LIBRARY,
            library_version=__version__,
        )
    except FAILURES as error:
        offline = local_files_only or constants.HF_HUB_OFFLINE
        cache = cache_dir or constants.HF_HUB_CACHE
        why = fetch_failure(error, revision or 'main', f'{cache}', offline)
        # The chain of HTTP errors says nothing that the line does not.
        raise UserError(f"no {kind.name} '{source}': {not_a_folder(source)}, and {why}") from None
    missing = [name for name in FILES if not (Path(snapshot) / name).is_file()]
    if missing:
        raise UserError(
            f"'{source}' on the hub ({revision or 'main'}) is not a saved {kind.name}: {snapshot} has no "
            f'{" and no ".join(missing)}; if its download was cut off, load it again with a network.'
        )
    return Path(snapshot)


def not_a_folder(source: str | os.PathLike[str]) -> str:
    """What a local look-up found, with the nearest name beside it."""
    path = Path(source)
    if path.is_file():
        return 'it is a file, not a folder (tools/export.py makes one of a checkpoint)'
    siblings = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1)
    hint = f" (did you mean '{path.with_name(close[0])}'?)" if close else ''
    return f'there is no such folder{hint}'
