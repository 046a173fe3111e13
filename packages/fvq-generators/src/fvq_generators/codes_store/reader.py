"""What every reader of codes does: any crop of any image, checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fvq_core.codes import LatentLayout
from fvq_core.errors import UserError
from fvq_core.ops.diagonal_gaussian import DiagonalGaussian

from ..fingerprint import tokenizer_hash

if TYPE_CHECKING:
    from fvq_core.tokenizer import Tokenizer


class CodesReader:
    """The codes of a data set in a folder.

    Attributes:
        root: The folder.
        layout: How the L codes, or the continuous latent, of a crop are arranged.
        num_crops: A, the crops of each image, mirrored ones included.
        tokenizer_hash: Fingerprint of the tokenizer whose codes they are; '' if that is not known.
        tokenizer_source: Origin of that tokenizer, in words; '' if that is not known.
        moments: Whether it holds the mean and the log variance of each latent.
    """

    root: Path
    layout: Any
    num_crops: int
    tokenizer_hash: str
    tokenizer_source: str = ''
    moments: bool = False

    def __len__(self) -> int:
        raise NotImplementedError

    def label(self, image: int) -> int:
        """The class of an image, -1 without one; an `IndexError` if there is no such image."""
        raise NotImplementedError

    def image(self, image: int) -> tuple[np.ndarray, str]:
        """The codes (A, L) or latents (A, ...) of an image as they are in the file, and how messages call that."""
        raise NotImplementedError

    def codes(self, image: int, crop: int) -> Tensor:
        """The codes of one crop of an image, int64 (L,).

        Raises:
            UserError: They are outside the vocabulary, or their file is damaged.
            IndexError: There is no such image or crop.
        """
        codes_AL, where = self.image(image)
        check_range(crop, self.num_crops, 'crop', where)
        return self._checked(codes_AL[crop], where)

    def all_codes(self, image: int) -> Tensor:
        """The codes of every crop of an image, int64 (A, L); raises as `codes` does."""
        return self._checked(*self.image(image))

    def latents(self, image: int, crop: int, rng: torch.Generator | None = None) -> Tensor:
        """The continuous latent of one crop of an image, float32 (D, H, W) or (D, L).

        Where the folder holds `moments` it is a draw from them; without `rng` their mean.

        Raises:
            UserError: The folder holds codes, or its file is damaged.
            IndexError: There is no such image or crop.
        """
        if not isinstance(self.layout, LatentLayout):
            raise UserError(f'{self.root} holds codes, not latents; read them with codes().')
        latents, where = self.image(image)
        check_range(crop, self.num_crops, 'crop', where)
        found = torch.from_numpy(np.array(latents[crop]))
        if not self.moments:
            return found
        posterior = DiagonalGaussian.from_moments(found[None])
        if rng is None:
            return posterior.mode()[0]
        return posterior.sample(torch.randn(self.layout.shape, generator=rng))[0]

    def _checked(self, codes: np.ndarray, where: str) -> Tensor:
        if isinstance(self.layout, LatentLayout):
            raise UserError(f'{where} holds latents, not codes; read them with latents().')
        found = torch.from_numpy(codes.astype(np.int64))
        try:
            self.layout.check(found.reshape(-1, found.shape[-1]))
        except UserError as error:
            raise UserError(f'{where}: {error}') from error
        return found

    def check_tokenizer(self, tokenizer: Tokenizer | str) -> None:
        """Raise if another tokenizer than this one, or the one with this hash, made the codes, or it is not known which."""
        given = tokenizer if isinstance(tokenizer, str) else tokenizer_hash(tokenizer)
        if not self.tokenizer_hash:
            raise UserError(
                f"{self.root} does not say which tokenizer made its codes; if it was this one, set tokenizer_hash='{given}'."
            )
        if given != self.tokenizer_hash:
            source = f' ({self.tokenizer_source})' if self.tokenizer_source else ''
            raise UserError(
                f'the codes in {self.root} were made by tokenizer {self.tokenizer_hash[:12]}{source}, this one is '
                f'{given[:12]}; load that tokenizer, or extract the codes with this one.'
            )


def check_range(index: int, size: int, what: str, where: str | Path) -> None:
    """Raise an `IndexError`, which ends a loop over a data set, if there is no image or crop of a number.

    A negative one would count from the end, or name another file.
    """
    if not 0 <= index < size:
        raise IndexError(f'{where} has {what}s 0 to {size - 1}, got {index}.')
