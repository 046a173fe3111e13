"""The tokenizers and generators that a page has: loaded when it starts, shared by its users and never changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from fvq_core.autoencoder import Autoencoder
from fvq_core.errors import UserError
from fvq_core.saving.kind import CONFIG_NAME
from fvq_generators.fingerprint import tokenizer_hash
from fvq_generators.image_generator import ImageGenerator

WORK_DIRS = Path('work_dirs')
FIRST_RUN = WORK_DIRS / 'fvq_photos'
MOST_FROM_HUB = 4  # tokenizers that users have asked for; the oldest makes room


class Models:
    """Tokenizers and generators by the names that the page shows.

    Args:
        tokenizers: Folders, or repositories of the Hugging Face hub.
        generators: The same, or a run's checkpoints. One that was saved without its tokenizer takes that of `tokenizers` whose
            codes it has learned.
        device: Device of all of them.
        from_hub: Whether users may load more tokenizers from the hub.

    Raises:
        UserError: One that cannot be loaded, or none at all.
    """

    def __init__(
        self,
        tokenizers: Sequence[str],
        generators: Sequence[str] = (),
        device: str | torch.device = 'cpu',
        from_hub: bool = False,
    ) -> None:
        self.device, self.from_hub = torch.device(device), from_hub
        self.sources: dict[str, str] = {}
        self.tokenizers: dict[str, Autoencoder] = {}
        self.generators: dict[str, ImageGenerator] = {}
        self._added: dict[str, Autoencoder] = {}
        self._lock = threading.Lock()
        for source, name in zip(tokenizers, short_names(tokenizers), strict=True):
            self.sources[name] = source
            self.tokenizers[name] = folded(Autoencoder.from_pretrained(source), self.device)
        for source, name in zip(generators, short_names(generators), strict=True):
            self.sources[name] = source
            self.generators[name] = self._generator(source)
        if not self.tokenizers:
            for name, generator in self.generators.items():
                if generator.tokenizer is not None:
                    self.tokenizers[f'tokenizer of {name}'] = generator.tokenizer
        if not self.tokenizers:
            raise UserError('there is no tokenizer to show; name one, or run "make train".')

    def _generator(self, source: str) -> ImageGenerator:
        """A generator with its tokenizer."""
        model = ImageGenerator.load(source)
        if model.tokenizer is None:
            known = {tokenizer_hash(each): each for each in self.tokenizers.values()}
            own = known.get(model.tokenizer_hash)
            if own is None:
                raise UserError(
                    f'generator {source} was saved without its tokenizer, and none of those named is it; name that one too.'
                )
            model.attach(own)
        return model.to(self.device).eval()

    @property
    def names(self) -> list[str]:
        """The tokenizers that there are, those of the command line first."""
        return [*self.tokenizers, *self._added]

    def tokenizer(self, name: str) -> Autoencoder:
        """A tokenizer by its name; raises if there is none."""
        found = self.tokenizers.get(name) or self._added.get(name)
        if found is None:
            raise UserError(f"there is no tokenizer '{name}' on this page; choose another.")
        return found

    def generator(self, name: str) -> ImageGenerator:
        """A generator by its name; raises if there is none."""
        if name not in self.generators:
            raise UserError(f"there is no generator '{name}' on this page; choose another.")
        return self.generators[name]

    def add(self, repository: str, fetch: Callable[[str], Path] | None = None) -> str:
        """Load a tokenizer of the hub for all users; returns its name.

        Args:
            repository: `user/name`; never a folder of this machine.
            fetch: Gives the folder of a repository; by default from the hub.
        """
        repository = repository.strip()
        if not self.from_hub:
            raise UserError('this page shows only the tokenizers that it was started with.')
        if repository not in self.names:
            folder = (fetch or from_the_hub)(repository)
            loaded = folded(Autoencoder.from_folder(folder), self.device)
            with self._lock:
                self._added[repository] = loaded
                while len(self._added) > MOST_FROM_HUB:
                    del self._added[next(iter(self._added))]
        return repository


def from_the_hub(repository: str) -> Path:
    """The folder in the local cache with the files of a repository."""
    from fvq_core.saving.hub import check_repo_id, fetch

    check_repo_id(repository)
    return fetch(repository, Autoencoder.saved_kind, None, cache_dir=None, token=None, local_files_only=False)


def folded(autoencoder: Autoencoder, device: torch.device) -> Autoencoder:
    """An autoencoder for inference on a device, without a projector."""
    return autoencoder.fold().to(device).eval().requires_grad_(False)


def short_names(sources: Sequence[str]) -> list[str]:
    """What a page calls models: `fvq_photos` for `work_dirs/fvq_photos/tokenizer`, in full where names would be the same."""
    shorts = []
    for source in sources:
        path = Path(source)
        parts = [part for part in path.parts if part not in ('tokenizer', 'generator', '/', '.', '..', str(WORK_DIRS))]
        local = path.exists()
        shorts.append((parts[-1] if parts else path.name) if local else source)
    return [source if shorts.count(short) > 1 else short for source, short in zip(sources, shorts, strict=True)]


def trained_here() -> tuple[list[str], list[str]]:
    """The tokenizers and generators that runs have left in `work_dirs`: those of `make train` first, then by name."""

    def runs(kind: str) -> list[str]:
        folders = [folder for folder in WORK_DIRS.glob(f'*/{kind}') if (folder / CONFIG_NAME).is_file()]
        return [str(folder) for folder in sorted(folders, key=lambda folder: (folder.parent != FIRST_RUN, folder))]

    return runs('tokenizer'), runs('generator')
