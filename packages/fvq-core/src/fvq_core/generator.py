"""The contract of generators: models of codes. They meet tokenizers in `Codes` and `CodeLayout` alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .codes import CodeLayout, Codes, Positions
from .errors import UserError


class Generator(nn.Module):
    """A conditional model of codes.

    Attributes:
        positions: The kinds of positions it can model.
        takes_slots: Whether it models several codes a position.
        layout: What this one models.
        num_classes: Its classes; None where its conditions are captions.
        caption_shape: Feature vectors T and channels C of its captions; None where its conditions are classes.
    """

    positions: ClassVar[tuple[type[Positions], ...]] = ()
    takes_slots: ClassVar[bool] = False
    layout: CodeLayout
    num_classes: int | None
    caption_shape: tuple[int, int] | None = None

    def units(self) -> list[nn.Module]:
        """Its parts that are alike, such as blocks: compiled each, and with FSDP2 gathered one after the other."""
        return []

    def check_condition(self, cond: Tensor) -> None:
        """Refuse conditions that it does not know.

        Raises:
            UserError: Saying which it knows.
        """
        raise NotImplementedError

    def loss(self, codes: Codes, cond: Tensor) -> dict[str, Tensor]:
        """Training loss terms by name, for codes and one condition each (B, ...).

        A generator of captions takes their mask, bool (B, T), and a weight of each image (B,) too; None where there is none.
        """
        raise NotImplementedError

    def forward(self, *batch: Any) -> dict[str, Tensor]:
        """`loss`: so that what wraps the module for many devices sees the training pass."""
        return self.loss(*batch)

    def sample(
        self,
        cond: Tensor,
        *,
        cfg_scale: float = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Codes:
        """Draw codes for each condition; `top_k=0` and `top_p=1` keep the whole vocabulary.

        With `seeds`, one for each condition, a sample depends on its seed and condition and not on the others of its batch.
        """
        raise NotImplementedError

    @classmethod
    def check_layout(cls, layout: CodeLayout) -> None:
        """Raise if this generator cannot model a layout.

        Raises:
            UserError: Naming the layouts it takes.
        """
        if not isinstance(layout.positions, cls.positions) or (layout.slots > 1 and not cls.takes_slots):
            takes = ' or '.join(known.__name__ for known in cls.positions)
            slots = '' if cls.takes_slots else ' with one code a position'
            raise UserError(f'{cls.__name__} takes a {takes}{slots}, got {layout}.')
