"""The bridge that the released training scripts build: DiT blocks on the tokens of the codebook."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import PROJECTORS

from .adaln_zero_block import AdaLNZeroBlock, modulated
from .codebook_bridge import CodebookBridge, Patching


@PROJECTORS.register_module()
class DiTBridge(CodebookBridge):
    """Raw codebook (K, D) to mapped codebook (K, D) by DiT blocks (Peebles and Xie, 2023), without a diffusion time.

    Like `VQBridge`, it has tokens of p codes, a shared linear map to `hidden_dim`, blocks, a LayerNorm and a shared linear
    map back. Unlike it, fixed sine-cosine positions are added to the tokens, and a label shifts, scales and gates the
    blocks (adaLN-zero). `docs/vqbridge.md` compares the two.

    The unconditional bridge has a single label, which is just a learned bias of the modulation; every released script
    trains this one. A class-conditional bridge (`num_classes`) maps the codebook once per class:

    - In training it is called with the label of each image, `bridge(codebook_KD, labels_B)`, and gives each image its own
      codebook, (B, K, D). Each label becomes the null class with probability `class_dropout`, drawn from torch's global
      generator, which the training loop seeds in each iteration. Labels are then required.
    - In eval, `bridge(codebook_KD)`, and with it the codebook of quantizer and tokenizer, is that of `fold_label`, or of
      the null class if there is no `fold_label`, as in the released evaluation. It never depends on the image.
    - Folding keeps a single class, so it must be given: `quantizer.fold(label=...)` or `fold_label`. The release folds
      with the null class.

    All modulation starts at zero, so the blocks start as the identity and the first steps train only the two linear maps.
    By default the output map starts at zero too, as released: at step 0 all codes are equal and the raw codebook gets no
    gradient. `output_scale` and `slot_spread` change that start. Arguments that are not listed are those of `VQBridge`.

    Args:
        patch_size: p, codes of one token; the release has 16 (4 x 4) at 16k and 64 (8 x 8) at 65k and 262k.
        hidden_dim: Width of the blocks, a multiple of 4 (grid) or 2 (sequence); `code_dim` by default, 256 as released.
        patching: `'grid'`, square patches of the codebook laid out as a square with 2-D positions, as released; or
            `'sequence'`, p consecutive codes with 1-D positions, for any K that p divides.
        num_classes: Classes 0 to `num_classes` - 1; None for the unconditional bridge. 1000 in the release.
        class_dropout: Probability of the null class (label `num_classes`) in training. With 0 there is no null class.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        patch_size: int = 16,
        hidden_dim: int | None = None,
        depth: int = 2,
        num_heads: int = 4,
        mlp_ratio: float = 2.0,
        patching: Patching = 'grid',
        num_classes: int | None = None,
        class_dropout: float = 0.1,
        fold_label: int | None = None,
        output_scale: float = 0.0,
        slot_spread: float = 0.3,
    ) -> None:
        hidden_dim = code_dim if hidden_dim is None else hidden_dim
        sizes = codebook_size, code_dim, patch_size, hidden_dim
        super().__init__(*sizes, depth, num_heads, mlp_ratio, patching, output_scale, slot_spread)
        self.num_classes, self.class_dropout, self.fold_label = num_classes, class_dropout, fold_label
        labels = self._count_labels()
        self.register_buffer('positions', self.sincos_table())
        self.label_table = nn.Embedding(labels, hidden_dim)
        blocks = [AdaLNZeroBlock(hidden_dim, num_heads, mlp_ratio) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.modulation = nn.Linear(hidden_dim, 2 * hidden_dim)
        self.add_output()
        nn.init.normal_(self.label_table.weight, std=0.02)
        for modulation in (self.modulation, *(block.modulation for block in blocks)):
            nn.init.zeros_(modulation.weight)

    def forward(self, codebook_KD: Tensor, labels_B: Tensor | None = None) -> Tensor:
        """(K, D) to (K, D); with int64 labels (B,), to one codebook per label, (B, K, D)."""
        condition_BC = self.label_table(self._table_indices(labels_B, codebook_KD.device))
        tokens = (self.compress(self.patchify(codebook_KD)) + self.positions).unsqueeze(0)
        for block in self.blocks:
            tokens = block(tokens, condition_BC)
        shift, scale = self.modulation(F.silu(condition_BC)).unsqueeze(1).chunk(2, 2)
        mapped_BKD = self.unpatchify(self.expand(modulated(tokens, shift, scale)))
        return mapped_BKD[0] if labels_B is None else mapped_BKD

    def label_to_fold(self, label: int | None) -> int | None:
        """The label whose codebook folding keeps: `label`, or else `fold_label`; see `Projector`."""
        if self.num_classes is None:
            return super().label_to_fold(label)
        label = self.fold_label if label is None else label
        if label is None:
            null = (
                f'{self.num_classes} is the null class, as released' if self.class_dropout else 'it has no null class'
            )
            raise UserError(
                f'DiTBridge: it maps the codebook once for each of {self.num_classes} classes, and folding keeps one; '
                f'call fold(label=...) on the quantizer, or set fold_label in the projector ({null}).'
            )
        self._check_label(label)
        return label

    def _count_labels(self) -> int:
        """Size of the label table: the classes and, if labels are dropped, the null class; 1 without classes."""
        classes = self.num_classes
        if not 0.0 <= self.class_dropout <= 1.0:
            raise UserError(f'DiTBridge: class_dropout must lie in [0, 1], got {self.class_dropout}; 0.1 is released.')
        if classes is not None and classes < 1:
            raise UserError(
                f'DiTBridge: num_classes must be 1 or more, got {classes}; drop it for a bridge without classes.'
            )
        if self.fold_label is not None:
            self._check_label(self.fold_label)
        if classes is not None and not self.class_dropout and self.fold_label is None:
            raise UserError(
                'DiTBridge: with class_dropout=0 there is no null class for evaluation to use; set fold_label to the '
                'class whose codebook evaluation and folding should use.'
            )
        return 1 if classes is None else classes + (self.class_dropout > 0)

    def _check_label(self, label: int) -> None:
        if self.num_classes is None:
            raise UserError(
                f'DiTBridge: it has no classes and takes no label, got {label}; drop it or set num_classes.'
            )
        last = self.num_classes if self.class_dropout else self.num_classes - 1
        if not 0 <= label <= last:
            raise UserError(f'DiTBridge: labels lie in 0 ... {last}, got {label}.')

    def _table_indices(self, labels_B: Tensor | None, device: torch.device) -> Tensor:
        """Indices into the label table, (B,) or (1,)."""
        if labels_B is None:
            if self.num_classes is not None and self.training:
                raise UserError(
                    f'DiTBridge: in training, a bridge with num_classes={self.num_classes} maps the codebook for the label '
                    'of each image, and got none; pass labels_B, or drop num_classes, as every released script does.'
                )
            null = 0 if self.num_classes is None else self.num_classes
            return torch.full((1,), null if self.fold_label is None else self.fold_label, device=device)
        if self.num_classes is None:
            raise UserError('DiTBridge: it has no classes and takes no labels; drop them or set num_classes.')
        if labels_B.device.type == 'cpu' and labels_B.numel():  # reading values would wait for a GPU
            for label in labels_B.aminmax():
                self._check_label(int(label))
        labels_B = labels_B.to(device)
        if self.training and self.class_dropout:
            dropped_B = torch.rand(labels_B.shape, device=device) < self.class_dropout
            labels_B = labels_B.masked_fill(dropped_B, self.num_classes)
        return labels_B
