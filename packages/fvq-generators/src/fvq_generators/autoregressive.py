"""Generators that predict each code from the condition and the codes before it: the transformer, and its loss."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fvq_core.codes import CodeLayout, Targets
from fvq_core.errors import UserError
from fvq_core.generator import Generator

from .checks import codes_to_learn
from .cross_entropy import chunked_cross_entropy
from .decoding import StaticSteps
from .layers import CaptionEmbedding, CausalMask, Classes, KVCache


class AutoregressiveGenerator(Generator):
    """Condition tokens, then codes, through blocks that attend to what was before.

    Attributes:
        any_order: Whether `sample` takes `order_BL`, the order in which codes are drawn.
        condition: Maps conditions to tokens.
        blocks: Take `(x_BLD, rotations, mask, causal, cache, layer, position)`, as `layers.TransformerBlock`, and the context
            if there is one.
        norm: Norm after the blocks.
        head: Maps features to logits.
        token_dropout: Dropout of condition and code tokens.
        mask: Attention mask of the whole sequence.
        rotations: Rotary table of each position; None without rotary embeddings.
        checkpointing: Keep only the inputs of the blocks and compute the rest again in the backward pass.
        loss_rows: Rows of logits that the loss has at once; see `chunked_cross_entropy`.
        static_steps: Compiled steps of sampling, kept as long as the weights stay where they are.
    """

    any_order: ClassVar[bool] = False
    likelihood = True
    layout: CodeLayout  # pyrefly: ignore[bad-override]
    condition: Classes | CaptionEmbedding
    norm: nn.Module
    head: nn.Linear
    token_dropout: nn.Module
    mask: CausalMask
    rotations: Tensor | None = None
    checkpointing: bool = False
    loss_rows: int | None = None
    static_steps: StaticSteps | None = None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        self.static_steps = None
        return self

    def compiled_steps(self, compile: bool | str) -> StaticSteps | None:
        """Steps of sampling that are compiled, by `'inductor'` or a named backend of `torch.compile`; None if they are not."""
        if not compile:
            return None
        backend = 'inductor' if compile is True else compile
        if self.static_steps is None or self.static_steps.backend != backend:
            self.static_steps = StaticSteps(backend)
        return self.static_steps

    def forget_steps(self) -> None:
        """Let go of compiled steps and of their memory."""
        self.static_steps = None

    def embed(self, indices_BL: Tensor, first: int | Tensor = 0) -> Tensor:
        """Codes to tokens (B, L, D); `first` is the number of the first of them in the sequence, or each one's (L,)."""
        raise NotImplementedError

    def condition_tokens(self, cond: Tensor) -> Tensor:
        """Conditions to tokens (B, T, D)."""
        return cast(Tensor, self.condition(cond))

    def context(self, cond_BTD: Tensor) -> Tensor | None:
        """What blocks read beside the sequence, made of the condition's tokens; a cache keeps what blocks make of it."""
        return None

    def normalize(self, x_BLD: Tensor, cache: KVCache | None, context: Tensor | None) -> Tensor:
        """The norm before the head."""
        return self.norm(x_BLD)

    @property
    def sequence_length(self) -> int:
        """Condition tokens and codes."""
        return self.condition.tokens + self.layout.length

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.head.weight.device

    @property
    def num_classes(self) -> int | None:  # pyrefly: ignore[bad-override]
        return self.condition.num_classes if isinstance(self.condition, Classes) else None

    @property
    def caption_shape(self) -> tuple[int, int] | None:  # pyrefly: ignore[bad-override]
        if isinstance(self.condition, Classes):
            return None
        return self.condition.tokens, self.condition.caption_dim

    def check_condition(self, cond: Tensor) -> None:
        self.condition.check(cond)

    def logits(self, x: Tensor) -> Tensor:
        """float32 logits (..., V) of normalized features."""
        return self.head(x).float()

    def transform(
        self,
        x_BLD: Tensor,
        rotations: Tensor | None,
        mask: Tensor | None,
        causal: bool,
        cache: KVCache | None = None,
        position: int | Tensor = 0,
        context: Tensor | None = None,
    ) -> Tensor:
        """Tokens through blocks and norm; see `layers.Attention`. With a cache, only the first tokens come with the context."""
        extra = () if context is None else (context,)
        for layer, block in enumerate(self.blocks):
            arguments = (x_BLD, rotations, mask, causal, cache, layer, position, *extra)
            if self.checkpointing and torch.is_grad_enabled():
                x_BLD = cast(Tensor, checkpoint(block, *arguments, use_reentrant=False))
            else:
                x_BLD = block(*arguments)
        return self.normalize(x_BLD, cache, context)

    def features(self, indices_BL: Tensor, cond: Tensor, caption_mask_BT: Tensor | None = None) -> Tensor:
        """Condition and codes through the transformer: what the head reads, (B, T + L, D).

        Args:
            indices_BL: The first codes of each image, possibly none.
            cond: Classes (B,) or caption features (B, T, C).
            caption_mask_BT: bool, True for real caption tokens, False for padding.

        Raises:
            UserError: More codes than the layout has.
        """
        if indices_BL.shape[1] > self.layout.length:
            raise UserError(
                f'{type(self).__name__}: {indices_BL.shape[1]} codes do not fit a layout of {self.layout.length} '
                f'({self.layout}).'
            )
        cond_BTD = self.condition_tokens(cond)
        x_BLD = self.token_dropout(torch.cat([cond_BTD, self.embed(indices_BL)], dim=1))
        L, mask = x_BLD.shape[1], None
        if caption_mask_BT is not None:
            mask = self.mask.block(0, L, self.visible(caption_mask_BT, len(cond)))
        elif not self.mask.causal:
            mask = self.mask.block(0, L)
        rotations = None if self.rotations is None else self.rotations[:L]
        return self.transform(x_BLD, rotations, mask, mask is None, context=self.context(cond_BTD))

    def visible(self, caption_mask_BT: Tensor, batch: int) -> Tensor:
        """Which of all positions may be attended to, bool (B, T): real caption tokens, and every code."""
        name = type(self).__name__
        if not isinstance(self.condition, CaptionEmbedding):
            raise UserError(f'{name}: a caption mask goes with captions, and this model has classes; leave it out.')
        self.condition.check_mask(caption_mask_BT, batch, name)
        codes_BL = caption_mask_BT.new_ones(batch, self.layout.length, dtype=torch.bool)
        return torch.cat([caption_mask_BT.bool(), codes_BL], dim=1)

    def loss(
        self, targets: Targets, cond: Tensor, caption_mask_BT: Tensor | None = None, valid_B: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`cross_entropy` of the codes in nats, each from those before it.

        Args:
            targets: Codes of this model's layout.
            cond: Classes (B,) or caption features (B, T, C).
            caption_mask_BT: See `features`.
            valid_B: Weight of each image, such as 0 for one whose caption could not be read; the loss is a weighted mean.

        Raises:
            UserError: See `codes_to_learn`.
        """
        indices_BL = codes_to_learn(self, targets, cond).indices_BL
        x_BLD = self.features(self.inputs(indices_BL), cond, caption_mask_BT)[:, self.condition.tokens - 1 :]
        weights_N = None if valid_B is None else valid_B.repeat_interleave(self.layout.length)
        value = chunked_cross_entropy(
            x_BLD.flatten(0, 1), self.head.weight, indices_BL.reshape(-1), weights_N, self.loss_rows
        )
        return {'cross_entropy': value}

    def inputs(self, indices_BL: Tensor) -> Tensor:
        """The codes that training reads, of the codes that it predicts: all but the last."""
        return indices_BL[:, :-1]
