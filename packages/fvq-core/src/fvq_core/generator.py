"""The contract of generators: models of codes. They meet tokenizers in `Codes` and `CodeLayout` alone."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .codes import CodeLayout, Codes
from .errors import UserError


class Generator(nn.Module):
    """A conditional model of codes.

    Attributes:
        layouts: The layout classes it can model.
    """

    layouts: ClassVar[tuple[type[CodeLayout], ...]] = ()

    def loss(self, codes: Codes, cond: Tensor) -> dict[str, Tensor]:
        """Training loss terms by name, for codes and one condition each (B, ...)."""
        raise NotImplementedError

    def sample(
        self,
        cond: Tensor,
        *,
        cfg_scale: float = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        rng: torch.Generator | None = None,
    ) -> Codes:
        """Draw codes for each condition; `top_k=0` and `top_p=1` keep the whole vocabulary."""
        raise NotImplementedError

    @classmethod
    def check_layout(cls, layout: CodeLayout) -> None:
        """Refuse a layout that this generator cannot model.

        Raises:
            UserError: Naming the layouts it takes.
        """
        if not isinstance(layout, cls.layouts):
            takes: list[Any] = [known.__name__ for known in cls.layouts]
            raise UserError(f'{cls.__name__} takes {", ".join(takes)}, got {type(layout).__name__}.')
