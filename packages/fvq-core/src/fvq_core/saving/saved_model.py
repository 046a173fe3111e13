"""What tokenizers and generators inherit: a folder on the disk or on the Hugging Face hub, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from .kind import Provenance, SavedKind, SaveSpec
from .model_card import CardMetadata
from .read_folder import find_folder
from .write_folder import save_folder


class SavedModel:
    """A module that is saved to a folder and loaded from one.

    Attributes:
        saved_kind: What its folders hold.
        loaded_facts: Of a loaded model, the digest of its weights and what `config.json` tells about them (metrics, where
            they come from). They are saved again with the same weights and with no others.
    """

    saved_kind: ClassVar[SavedKind]
    loaded_facts: Provenance = (None, {})

    def save_spec(self) -> SaveSpec:
        """What its folder is to hold; a `UserError` if it was not built from a config."""
        raise NotImplementedError

    @classmethod
    def from_folder(cls, folder: Path, **options: Any) -> Self:
        """The model of a folder, on the CPU; see `from_pretrained`."""
        raise NotImplementedError

    def save_pretrained(
        self, folder: str | Path, extra: Mapping[str, Any] | None = None, card: CardMetadata | None = None
    ) -> Path:
        """Write `config.json`, `model.safetensors` and a model card; see `fvq_core.saving.write_folder.save_folder`."""
        return save_folder(self.save_spec(), folder, extra, card)

    def push_to_hub(
        self,
        repo_id: str,
        extra: Mapping[str, Any] | None = None,
        card: CardMetadata | None = None,
        *,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        commit_message: str | None = None,
    ) -> str:
        """Push what `save_pretrained` writes to `user/name` on the Hugging Face hub; returns its address there.

        Args:
            repo_id: `user/name`; the repository is made if there is none.
            extra: See `save_pretrained`, as `card`.
            private: Whether a new repository is private; None for the account's default.
            token: Access token; by default the one of `hf auth login` or `HF_TOKEN`.
            branch: An existing branch; the main one by default.
            create_pr: Open a pull request instead of committing to the branch.
            commit_message: First line of the commit.

        Raises:
            UserError: A bad id, or the hub cannot be reached or refuses.
        """
        from .hub import push_folder

        named = replace(card or CardMetadata(), name=repo_id)
        message = commit_message or f'{self.saved_kind.name.capitalize()} saved by fvq'
        hub: dict[str, Any] = dict(private=private, token=token, branch=branch, create_pr=create_pr)
        return push_folder(
            lambda folder: self.save_pretrained(folder, extra, named), repo_id, commit_message=message, **hub
        )

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        device: str | torch.device = 'cpu',
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> Self:
        """Load what `save_pretrained` wrote, in eval mode, from a folder or from `user/name` on the Hugging Face hub.

        Args:
            source: A folder, a repository, or a name of what comes with FVQ (`fvq_photos`); a folder that exists wins.
            revision: Branch, tag or commit of the repository; `main` by default.
            cache_dir: The hub's cache folder; by default huggingface_hub's.
            token: Access token for private repositories; by default the one of `hf auth login` or `HF_TOKEN`.
            local_files_only: Take the repository from the cache without asking the hub.
            options: Passed to this class's `from_folder`.

        Raises:
            UserError: No such folder or repository, broken files, unknown components, or weights of another config.
        """
        hub: dict[str, Any] = dict(cache_dir=cache_dir, token=token, local_files_only=local_files_only)
        folder = find_folder(source, cls.saved_kind, revision=revision, **hub)
        model: Any = cls.from_folder(folder, **options)
        return model.to(device).eval()
