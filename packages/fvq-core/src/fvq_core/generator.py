"""The contract of generators: models of codes or of continuous latents, which never see a tokenizer's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .codes import CodeLayout, Codes, Positions, Targets
from .errors import UserError
from .quantizer import Quantizer
from .sampling_settings import SamplingSettings


class Generator(nn.Module):
    """A conditional model of codes.

    Attributes:
        Sampling: The settings of `sample`: a frozen dataclass, from which the options of `tools/sample.py`, what may be
            saved, and the model card are derived.
        position_kinds: The kinds of positions it can model.
        takes_slots: Whether it models several codes a position.
        layout: What this one models.
        num_classes: Its classes; None if its conditions are captions.
        caption_shape: Feature vectors T and channels C of its captions; None if its conditions are classes.
        blocks: Its parts that are alike: each is compiled, and with FSDP2 they are gathered one after the other.
    """

    Sampling: ClassVar[type[SamplingSettings]] = SamplingSettings
    position_kinds: ClassVar[tuple[type[Positions], ...]] = ()
    takes_slots: ClassVar[bool] = False
    layout: CodeLayout
    num_classes: int | None
    caption_shape: tuple[int, int] | None = None
    blocks: nn.ModuleList | tuple[nn.Module, ...]

    def __init__(self) -> None:
        super().__init__()
        self.blocks = ()

    def bind(self, quantizer: Quantizer) -> None:
        """Meet the quantizer of the tokenizer whose codes it models: called before training and before sampling.

        A VAR keeps it for the running sums of its scales (`fvq_core.quantizer.NextScale`), an RQ-Transformer for the
        embeddings of its depths (`DepthCodes`); most generators have no use for it. What is kept stays out of the state
        dict, for the tokenizer is saved beside the generator; its owner moves it between devices.

        Args:
            quantizer: Folded, in eval mode.

        Raises:
            UserError: It cannot give what this generator asks for.
        """

    def check_condition(self, cond: Tensor) -> None:
        """Raise if conditions are not of the kind that it knows."""
        raise NotImplementedError

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:
        """Training loss terms by name, for targets and one condition each (B, ...).

        A generator of captions takes their mask, bool (B, T), and a weight of each image (B,) too; None if there is none.
        """
        raise NotImplementedError

    def forward(self, *batch: Any) -> dict[str, Tensor]:
        """`loss`: so that what wraps the module for many devices sees the training pass."""
        return self.loss(*batch)

    def sample(
        self, cond: Tensor, *, rng: torch.Generator | None = None, seeds: Sequence[int] | None = None, **settings: Any
    ) -> Codes:
        """Draw codes for each condition.

        Args:
            cond: Conditions (B, ...).
            rng: Gives the seeds if there are none; torch's own by default.
            seeds: One for each condition. A sample then depends on its seed and condition, not on the others of its batch.
            settings: Fields of `Sampling`; a generator of captions takes `caption_mask_BT`, bool (B, T), too, and one that
                can compile its steps takes `compile`.

        Raises:
            UserError: Settings out of range, or conditions that it does not know.
        """
        raise NotImplementedError

    @classmethod
    def check_layout(cls, layout: CodeLayout) -> None:
        """Raise if this generator cannot model a layout."""
        if not isinstance(layout.positions, cls.position_kinds) or (layout.slots > 1 and not cls.takes_slots):
            takes = ' or '.join(known.__name__ for known in cls.position_kinds)
            slots = '' if cls.takes_slots else ' with one code a position'
            raise UserError(f'{cls.__name__} takes a {takes}{slots}, got {layout}.')
