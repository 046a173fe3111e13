"""RQ-Transformer (Lee et al., 2022): a transformer over positions, and one over the residual codes of each position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout, Codes, Grid, Targets
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.images import device_images
from fvq_core.quantizer import DepthCodes, Quantizer
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from .checks import check_rates, codes_to_learn, images_to_draw, layout_of
from .depth_decoding import cache_bytes, draw_stacks
from .eval_mode import eval_mode
from .layers import ClassEmbedding, GPTBlock, KVCache, StackClassifier, StackEmbedding, TokenEmbedding
from .out_of_memory import memory_advice
from .sampling import Guidance, Pick, Sampler
from .small_tokenizer import small_tokenizer


@GENERATORS.register_module()
class RQTransformer(Generator):
    """Codes of a position, one depth after the other, from the positions before it and the depths before.

    The body sees the condition, then a token a position: the sum over depths of the codes' embeddings. The head sees the
    body's output, then a token a depth: the sum of the codes so far. Codes are embedded by what they stand for in the
    codebook of the tokenizer.

    The published sizes (dim; blocks of body and head): 480M 1536; 12, 4. 821M 1536; 24, 4. 1.4B 1536; 42, 6. 3.8B 2560; 42,
    6. A head of attention has 64 channels.

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence` with several codes a position.
        code_dim: Channels of the tokenizer's codes; those of all positions that it joins (`space_to_depth`).
        dim: Channels D.
        depth: Blocks of the body.
        head_depth: Blocks of the head.
        heads: Heads of attention in both.
        num_classes: Classes; or the vocabulary of text, with several `text_tokens`.
        text_tokens: Tokens of a condition (B, T), which the body also learns to predict; 1 for a class (B,).
        text_weight: Weight of that prediction in the loss, from 0 to 1; the codes have the rest.
        cond_dropout: Share of the classes that training drops, for guidance; the released models were trained with none.
        body_input, head_input: How codes are embedded: `'codebook'`, a linear map of their vectors; or `'table'`, vectors
            of their own.
        shared_table: One table for all depths, or one for each.
        shared_classifier: One classifier for all depths, or one for each.
        cumulative: The head sees sums of the codes so far, or only the last; with `head_input='codebook'`.
        embedding_dropout, attention_dropout, residual_dropout: Rates of dropout.
        soft_temperature: When training from images, codes are drawn from softmax(-squared distance / temperature) at each
            depth, and these distributions are the targets (section 3.2.3); None learns the nearest codes.
        checkpointing: Keep only the inputs of the blocks and compute the rest again in the backward pass.
        loss_rows: Rows of logits that the loss has at once; see `chunked_cross_entropy`.

    Raises:
        UserError: A layout that it cannot model, sizes that do not fit each other, or values out of range.
    """

    @dataclass(frozen=True)
    class Sampling(Sampler, Guidance):
        """Guidance, and how a code is chosen from its logits."""

    position_kinds = (Grid, CodeSequence)
    takes_slots = True
    binds_to = DepthCodes
    likelihood = True
    inpaints = True
    layout: CodeLayout  # pyrefly: ignore[bad-override]

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        code_dim: int = 256,
        dim: int = 1536,
        depth: int = 12,
        head_depth: int = 4,
        heads: int = 24,
        num_classes: int = 1000,
        text_tokens: int = 1,
        text_weight: float = 0.1,
        cond_dropout: float = 0.0,
        body_input: Literal['codebook', 'table'] = 'codebook',
        head_input: Literal['codebook', 'table'] = 'codebook',
        shared_table: bool = True,
        shared_classifier: bool = True,
        cumulative: bool = True,
        embedding_dropout: float = 0.0,
        attention_dropout: float = 0.0,
        residual_dropout: float = 0.1,
        soft_temperature: float | None = 0.5,
        checkpointing: bool = False,
        loss_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        check_sizes(
            'RQTransformer',
            code_dim=code_dim,
            dim=dim,
            depth=depth,
            head_depth=head_depth,
            heads=heads,
            num_classes=num_classes,
            text_tokens=text_tokens,
        )
        check_rates('RQTransformer', cond_dropout=cond_dropout, text_weight=text_weight)
        if soft_temperature is not None and not soft_temperature > 0:
            raise UserError(f'RQTransformer: soft_temperature must be above 0, or None, got {soft_temperature}.')
        sizes = self.layout.vocabularies
        if cond_dropout and text_tokens > 1:
            raise UserError(
                'RQTransformer: cond_dropout drops classes, and text_tokens makes a model of text; set one.'
            )
        self.text_weight, self.soft_temperature = text_weight, soft_temperature
        self.likelihood = text_tokens == 1  # with text its loss is a weighted sum
        self.checkpointing, self.loss_rows = checkpointing, loss_rows
        self.condition: ClassEmbedding | TokenEmbedding = (
            ClassEmbedding(num_classes, dim, cond_dropout)
            if text_tokens == 1
            else TokenEmbedding(num_classes, dim, text_tokens)
        )
        self.condition_positions = nn.Parameter(torch.empty(text_tokens, dim))
        self.positions = nn.Parameter(torch.empty(self.layout.positions.length, dim))
        self.depth_positions = nn.Parameter(torch.empty(self.layout.slots, dim))
        self.embedding = StackEmbedding(sizes, code_dim, dim, body_input, head_input, shared_table, cumulative)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.body, self.head = (
            nn.ModuleList(GPTBlock(dim, heads, nn.GELU(), attention_dropout, residual_dropout) for _ in range(number))
            for number in (depth, head_depth)
        )
        self.blocks = (*self.body, *self.head)
        self.classifier = StackClassifier(sizes, dim, shared_classifier)
        self.text_norm = nn.LayerNorm(dim) if text_tokens > 1 else None
        self.text_classifier = nn.Linear(dim, num_classes) if text_tokens > 1 else None
        for places in (self.condition_positions, self.positions, self.depth_positions):
            nn.init.normal_(places, std=0.02)  # all else starts as torch does, as in the release

    def bind(self, quantizer: Quantizer) -> None:
        super().bind(quantizer)
        found, own = self.quantizer.codebooks()[0].shape[1], self.embedding.code_dim
        if self.embedding.needs_codebooks and found != own:
            raise UserError(
                f'RQTransformer: the codes of this tokenizer have {found} channels, the model is made for {own}; set '
                f'model.generator.code_dim={found}.'
            )

    @property
    def num_classes(self) -> int:  # pyrefly: ignore[bad-override]
        return self.condition.num_classes

    def check_condition(self, cond: Tensor) -> None:
        self.condition.check(cond)

    @torch.no_grad()
    def targets(self, batch: Mapping[str, Any], autoencoder: Autoencoder | None = None) -> Targets:
        """See `Generator.targets`; while training on images also the soft codes, see `soft_temperature`."""
        images = batch.get('images')
        if batch.get('codes') is not None or images is None or autoencoder is None or not self.training:
            return super().targets(batch, autoencoder)
        if self.soft_temperature is None:
            return super().targets(batch, autoencoder)
        z_BDHW = autoencoder.encode_latent(device_images(batch, next(self.parameters()).device))
        autoencoder.check_finite(z_BDHW)
        soft_BLV, codes = self.quantizer.soft_codes(z_BDHW, self.soft_temperature, stochastic=True)
        return Targets(codes, soft_BLV)

    def codebooks(self) -> list[Tensor]:
        """The tokenizer's codebooks of each depth in the model's type; none if nothing reads them."""
        if not self.embedding.needs_codebooks:
            return []
        return [codebook.to(self.positions.dtype) for codebook in self.quantizer.codebooks(wait=False)]

    def condition_tokens(self, cond: Tensor) -> Tensor:
        """Conditions to tokens of the body, (B, T, D)."""
        return self.condition(cond) + self.condition_positions

    def run(self, blocks: nn.ModuleList, x_BLD: Tensor, cache: KVCache | None = None, position: int = 0) -> Tensor:
        """Tokens through the body or the head, behind those in the cache."""
        for layer, block in enumerate(blocks):
            if self.checkpointing and torch.is_grad_enabled():
                x_BLD = cast(Tensor, checkpoint(block, x_BLD, None, None, True, use_reentrant=False))
            else:
                x_BLD = block(x_BLD, None, None, x_BLD.shape[1] > 1, cache, layer, position)
        return x_BLD

    def features(self, indices_BL: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """What the classifier reads, (B, positions, depths, D), and what the body says of the condition, (B, T - 1, D).

        Args:
            indices_BL: All codes of each image.
            cond: Classes (B,) or text (B, T).
        """
        indices_BNd, codebooks = indices_BL.view(len(indices_BL), -1, self.layout.slots), self.codebooks()
        tokens_BND = self.embedding.positions(indices_BNd[:, :-1], codebooks) + self.positions[:-1]
        x_BLD = torch.cat([self.condition_tokens(cond), tokens_BND], dim=1)
        x_BLD = self.run(self.body, self.embedding_dropout(x_BLD))
        T = self.condition.tokens
        context_BN1D = x_BLD[:, T - 1 :, None]
        tokens_BNdD = self.embedding.depth_tokens(indices_BNd[..., :-1], codebooks)
        x_BNdD = torch.cat([context_BN1D, tokens_BNdD], dim=2) + self.depth_positions
        return self.run(self.head, x_BNdD.flatten(0, 1)).view_as(x_BNdD), x_BLD[:, : T - 1]

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:
        """`cross_entropy` of the codes in nats, or `soft_cross_entropy` of soft targets, mean over all codes; of a model of
        text also `text_cross_entropy`, both times their weights.

        Args:
            targets: Codes of this model's layout, and optionally soft targets (B, L, V).
            cond: Classes (B,) or text (B, T).

        Raises:
            UserError: No codes, codes of another layout, or conditions that are not one an image; on a CPU
                also codes and conditions out of range.
        """
        codes = codes_to_learn(self, targets, cond)
        x_BNdD, text_BTD = self.features(codes.indices_BL, cond)
        indices_BNd, soft = codes.indices_BL.view(x_BNdD.shape[:3]), targets.soft
        soft_BNdV = None if soft is None else soft.view(*x_BNdD.shape[:3], -1)
        name = 'cross_entropy' if soft is None else 'soft_cross_entropy'
        losses = {name: self.classifier.loss(x_BNdD, indices_BNd, soft_BNdV, self.loss_rows)}
        if self.text_classifier is not None and self.text_norm is not None:
            logits = self.text_classifier(self.text_norm(text_BTD)).float()
            text = F.cross_entropy(logits.flatten(0, 1), cond.long()[:, 1:].flatten())
            losses = {name: losses[name] * (1 - self.text_weight), 'text_cross_entropy': text * self.text_weight}
        return losses

    def sample(
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        given: Codes | None = None,
        keep_BL: Tensor | None = None,
        pick: Pick | None = None,
        **settings: Any,
    ) -> Codes:
        """Draw codes for each condition; see `Generator.sample`.

        Args:
            cond: Classes (B,) or text (B, T).
            rng, seeds: See `Generator.sample`.
            given, keep_BL: Codes that are kept; each of the others is drawn from those before it.
            pick: Chooses codes in place of `Sampler`.
            settings: Settings of `Guidance` and `Sampler`.

        Raises:
            UserError: Conditions that the model does not have, guidance of a model that was trained without dropping
                conditions, settings out of range, or too little memory, with a batch that fits.
        """
        sampling = self.Sampling.of(settings)
        drop_rate = self.condition.drop_rate
        cond, seeds = images_to_draw(self, cond, rng, seeds, sampling.cfg_scale, drop_rate, given, keep_BL)
        if not len(cond):
            return Codes(torch.empty(0, self.layout.length, dtype=torch.int64, device=cond.device), self.layout)
        per_image = cache_bytes(self) * (2 if sampling.active else 1)
        with eval_mode(self), memory_advice(len(cond), cond.device, per_image):
            return draw_stacks(self, cond, seeds, sampling.cfg_scale, pick or sampling.part(Sampler), given, keep_BL)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of body and one of the head, 64 channels, for stacks of two codes; all other options stay."""
        layout = dict(type='Grid', height=4, width=4, codebook_size=[64, 64])
        return dict(layout=layout, code_dim=8, dim=64, depth=2, head_depth=1, heads=2)

    @staticmethod
    def smoke_tokenizer() -> dict[str, Any]:
        """A small tokenizer with these codes, for images of 64x64."""
        return small_tokenizer('ResidualQuantizer', depth=2)
