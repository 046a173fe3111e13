"""Generators on the Hugging Face hub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import constants, snapshot_download

from fvq_core import __version__
from fvq_core.errors import UserError
from fvq_core.saving.hub import SavedTokenizer, check_repo_id, is_repo_id, not_a_folder
from fvq_core.saving.hub_errors import FAILURES, fetch_failure, push_failure
from fvq_core.saving.model_card import LIBRARY
from fvq_core.saving.pretrained import CONFIG_NAME, WEIGHTS_NAME

from .pretrained import TOKENIZER_FOLDER


def fetch_generator(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder in the local cache with a generator and its tokenizer, of one commit; see `fvq_core.saving.hub.fetch`.

    Raises:
        UserError: No such folder and no such repository, revision or file, or no access.
    """
    if not isinstance(source, str) or not is_repo_id(source):
        raise UserError(f'{source} is not a saved generator: {not_a_folder(source)}, nor is it user/name on the hub.')
    try:
        snapshot = snapshot_download(
            source,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            allow_patterns=[
                f'{folder}{name}' for folder in ('', f'{TOKENIZER_FOLDER}/') for name in (CONFIG_NAME, WEIGHTS_NAME)
            ],
            library_name=LIBRARY,
            library_version=__version__,
        )
    except FAILURES as error:
        offline = local_files_only or constants.HF_HUB_OFFLINE
        why = fetch_failure(error, revision or 'main', f'{cache_dir or constants.HF_HUB_CACHE}', offline)
        # The chain of HTTP errors says nothing that the line does not.
        raise UserError(f"no generator '{source}': {not_a_folder(source)}, and {why}") from None
    return Path(snapshot)


def push_folder(
    save: Callable[[Path], object],
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
    create_pr: bool = False,
    commit_message: str = 'Generator saved by fvq',
) -> str:
    """Save to a temporary folder and push it; nothing is made on the hub unless saving worked.

    Args:
        save: Writes the folder that it is given.
        repo_id: `user/name`.
        private: See `fvq_core.saving.hub.push_to_hub`, as for the rest.
        token: For it.
        branch: Of it.
        create_pr: Of it.
        commit_message: Of it.

    Returns:
        The address that the hub gives for it.

    Raises:
        UserError: A bad id, or the hub cannot be reached or refuses.
    """
    check_repo_id(repo_id)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / 'generator'
        save(folder)
        try:
            # What is used of it is the push: make the repository, then all files in one commit.
            commit = SavedTokenizer(folder).push_to_hub(
                repo_id,
                private=private,
                token=token,
                branch=branch,
                create_pr=create_pr,
                commit_message=commit_message,
            )
        except (*FAILURES, ValueError) as error:  # ValueError: the hub found the card's metadata invalid
            raise UserError(f"push_to_hub: '{repo_id}' was not pushed: {push_failure(error, branch)}") from None
    return str(commit)
