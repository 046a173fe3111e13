"""MaskGIT (Chang et al., 2022): a model that predicts masked codes from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Targets
from fvq_core.errors import UserError, nearest_hint
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from ..checks import check_rates, codes_to_learn, layout_of
from ..cross_entropy import chunked_cross_entropy
from ..layers import ClassEmbedding, split_code
from ..sampling import guide
from .code_embedding import CodeEmbedding, CodeHead
from .masked_generator import MaskedGenerator
from .networks import NETWORKS, MaskedNetwork
from .networks.network import init_truncated
from .schedules import SCHEDULES, draw_masks
from .settings import MaskedSampling


@GENERATORS.register_module()
class MaskGIT(MaskedGenerator):
    """Masked codes are predicted from the others and a class, all at once; sampling draws them in a few passes.

    Three forms were released, and differ in network and details: the original (`BERT`, tied head), TiTok's (`BERT` or `UViT`,
    head of its own), and Halton-MaskGIT (`ModulatedTransformer`, tied head that has the mask too).

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence`, or `dict(type='Grid', height=16, width=16, codebook_size=1024)`.
        network: Config of a component of `NETWORKS`.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops, for classifier-free guidance; 0 in the original.
        factors: Splits a large vocabulary, see `CodeEmbedding`; (64, 4096) for 262,144 codes.
        tied_head: The codes' vectors serve as the head's matrix.
        mask_output: The head has a logit for the mask.
        mask_schedule: See `SCHEDULES`.
        mask_each: Mask every code on its own, see `draw_masks`.
        unmasked_weight: Weight of the codes that are not masked, in the loss: 0 counts the masked ones only.
        label_smoothing: See `chunked_cross_entropy`.
        checkpointing: Keep only the inputs of the blocks and compute the rest again in the backward pass.
        loss_rows: Rows of logits that the loss has at once; see `chunked_cross_entropy`.

    Raises:
        UserError: A layout that it cannot model, or arguments that do not fit each other.
    """

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        network: Mapping[str, Any],
        num_classes: int = 1000,
        cond_dropout: float = 0.1,
        factors: Sequence[int] | None = None,
        tied_head: bool = False,
        mask_output: bool = False,
        mask_schedule: str = 'cosine',
        mask_each: bool = False,
        unmasked_weight: float = 0.0,
        label_smoothing: float = 0.1,
        checkpointing: bool = False,
        loss_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        check_sizes('MaskGIT', num_classes=num_classes)
        check_rates('MaskGIT', cond_dropout=cond_dropout, label_smoothing=label_smoothing)
        if unmasked_weight < 0:
            raise UserError(f'MaskGIT: unmasked_weight must be 0 or more, got {unmasked_weight}.')
        if mask_schedule not in SCHEDULES:
            raise UserError(
                f"MaskGIT: unknown mask_schedule '{mask_schedule}'; {nearest_hint(mask_schedule, SCHEDULES)}"
            )
        self.mask_schedule, self.mask_each = mask_schedule, mask_each
        self.unmasked_weight, self.label_smoothing, self.loss_rows = unmasked_weight, label_smoothing, loss_rows
        self.network: MaskedNetwork = NETWORKS.build(
            network, length=self.layout.length, positions=self.layout.positions
        )
        self.network.checkpointing = checkpointing
        dim, std = self.network.dim, self.network.init_std
        self.condition = ClassEmbedding(num_classes, dim, cond_dropout)
        self.codes = CodeEmbedding(self.layout.vocab_size, dim, factors)
        self.head = CodeHead(self.codes, tied_head, mask_output)
        for each in (self.condition, self.codes):
            init_truncated(each, std)
        if self.head.weight is not None:
            nn.init.trunc_normal_(self.head.weight, std=std, a=-2 * std, b=2 * std)
        self.blocks = tuple(self.network.blocks)  # a tuple: the network has them in the state dict

    @property
    def num_classes(self) -> int:  # pyrefly: ignore[bad-override]
        return self.condition.num_classes

    def features(self, indices_BL: Tensor, cond: Tensor) -> Tensor:
        """What the head reads, (B, L, D).

        Args:
            indices_BL: Codes; V, the number of codes there are, for a masked one.
            cond: Classes (B,).
        """
        return self.network(self.codes(indices_BL), self.condition(cond))

    def logits(self, indices_BL: Tensor, cond: Tensor) -> Tensor:
        """float32 logits (B, L, outputs); see `features`."""
        return self.head(self.features(indices_BL, cond), self.codes)

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:
        """`cross_entropy` of the masked codes in nats, label smoothing included; masks are drawn anew each time.

        Args:
            targets: Codes of this model's layout.
            cond: Classes (B,).

        Raises:
            UserError: See `codes_to_learn`.
        """
        indices_BL = codes_to_learn(self, targets, cond).indices_BL
        B, L = indices_BL.shape
        masked_BL = draw_masks(B, L, SCHEDULES[self.mask_schedule], self.mask_each, indices_BL.device)
        x_BLD = self.features(indices_BL.masked_fill(masked_BL, self.codes.vocab_size), cond)
        weights_N = masked_BL.flatten().float()
        weights_N = weights_N + (1.0 - weights_N) * self.unmasked_weight
        return {'cross_entropy': self.cross_entropy(x_BLD.flatten(0, 1), indices_BL.flatten(), weights_N)}

    def cross_entropy(self, x_ND: Tensor, indices_N: Tensor, weights_N: Tensor) -> Tensor:
        """The weighted mean cross-entropy of codes, the sum over their factors.

        Args:
            x_ND: What the head reads.
            indices_N: The codes.
            weights_N: Of each code.
        """
        weight_OD, bias_O = self.head.matrix(self.codes), self.head.bias
        sizes = [*self.codes.factors[:-1], self.codes.factors[-1] + self.head.outputs - sum(self.codes.factors)]
        parts = zip(split_code(indices_N, self.codes.factors), weight_OD.split(sizes), bias_O.split(sizes), strict=True)
        losses = [
            chunked_cross_entropy(
                x_ND, weight_VD, part_N, weights_N, self.loss_rows, bias_V=bias_V, label_smoothing=self.label_smoothing
            )
            for part_N, weight_VD, bias_V in parts
        ]
        return torch.stack(losses).sum()

    def passes(self, cond: Tensor, sampling: MaskedSampling, blank: bool) -> Passes:
        return Passes(self, cond, blank)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for 16 codes of 64; dropout and all other options stay."""
        layout = cfg['layout'].to_dict() if isinstance(cfg['layout'], CodeLayout) else dict(cfg['layout'])
        size = dict(height=4, width=4) if layout['type'] == 'Grid' else dict(length=16)
        network = cfg['network'].copy()  # not unpacked: a config's dict would build its lazy type
        network.update(dim=64, depth=2, heads=2)
        for name, value in dict(width=128, hidden_multiple=32, hidden_factor=None).items():
            if name in network:
                network[name] = value
        factors = None if cfg.get('factors') is None else [8, 8]
        return dict(layout={**layout, **size, 'codebook_size': 64}, network=network, factors=factors)


class Passes:
    """The passes of one call of `sample`: with guidance, conditional and unconditional ones in one batch.

    Args:
        model: In eval mode.
        cond: Classes (B,).
        blank: Nothing is given, so that in the first pass images of one class, and all those without one, are alike: one is
            computed for them.
    """

    def __init__(self, model: MaskGIT, cond: Tensor, blank: bool) -> None:
        self.model, self.blank = model, blank
        self.labels = torch.cat([cond, model.condition.null(cond)]) if model.condition.drop_rate else cond
        self.classes: dict[
            bool, tuple[Tensor, Any]
        ] = {}  # with guidance, and without: vectors, and what is prepared of them

    def __call__(self, indices_BL: Tensor, rows_BN: Tensor, scale: float) -> Tensor:
        guided = scale != 1.0
        rows_BN = torch.cat([rows_BN, rows_BN]) if guided else rows_BN
        labels = self.labels[: len(rows_BN)]
        if self.blank:
            self.blank = False
            labels, alike = labels.unique(return_inverse=True)
            x_BLD = self.features(indices_BL[:1].expand(len(labels), -1), *self.prepared(labels))[alike]
        else:
            if guided not in self.classes:
                self.classes[guided] = self.prepared(labels)
            x_BLD = self.features(torch.cat([indices_BL, indices_BL]) if guided else indices_BL, *self.classes[guided])
        x_BND = x_BLD.gather(1, rows_BN[..., None].expand(-1, -1, x_BLD.shape[-1]))
        logits = self.model.head(x_BND, self.model.codes)
        return guide(logits, scale) if guided else logits

    def prepared(self, labels: Tensor) -> tuple[Tensor, Any]:
        """Vectors of classes, and what the network computes of them only."""
        class_B1D = self.model.condition(labels)
        return class_B1D, self.model.network.prepare(class_B1D)

    def features(self, indices_BL: Tensor, class_B1D: Tensor, prepared: Any) -> Tensor:
        return self.model.network(self.model.codes(indices_BL), class_B1D, prepared)
