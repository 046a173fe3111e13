"""The contract that every quantizer keeps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from .codes import CodeLayout, Codes, Positions
from .errors import UserError
from .ops.ranks import copy_from_first_rank
from .projector import find_projectors


def to_vectors(z_BDHW: Tensor) -> Tensor:
    """A latent (B, D, H, W) or (B, D, L) as vectors (N, D), in the order of its codes."""
    return z_BDHW.movedim(1, -1).flatten(0, -2)


@dataclass
class QuantizerOutput:
    """What a quantizer returns.

    Attributes:
        z_q_BDHW: The quantized latent. In training it carries the estimator's gradient; in eval it is the plain code.
        codes: The chosen codes.
        losses: Weighted terms to add to the training loss, scalars by name; empty in eval.
        z_BDHW: The latent as the quantizer compared it with its codes (after any normalisation), so that
            mean |z - z_q|^2 is the quantization error. None if codes are chosen in another way (Gumbel).
    """

    z_q_BDHW: Tensor
    codes: Codes
    z_BDHW: Tensor | None
    losses: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class FittedState:
    """What a quantizer loads of a saved one."""

    state: dict[str, Tensor]  # its state dict
    afresh: str = ''  # what starts without a saved state, in words
    note: str = ''  # what else is not as it was saved, in words
    loaded: Callable[[], object] = object  # called once the state is loaded


class Quantizer(nn.Module):
    """Latent to codes and back.

    A latent is (B, D, H, W) on a grid, or (B, D, L) in a sequence; "BDHW" stands for both.

    Codes are exact only in float32: rounded to bfloat16, latents fall to other codes. So a quantizer's weights stay float32
    when the model around it is cast (`model.bfloat16()`, `.half()`, `.double()`).

    Attributes:
        code_dim: D, the channels of the latent that it takes and returns.
        component_config: The config that it was built from, which `QUANTIZERS.build` leaves here.
        frozen: Whether weights and buffers stay as they are in training too; see `freeze`.
    """

    frozen: bool = False
    code_dim: int
    component_config: dict[str, Any]

    def forward(self, z_BDHW: Tensor) -> QuantizerOutput:
        """Quantize a latent (B, D, H, W) or (B, D, L); H, W and L may differ from call to call."""
        raise NotImplementedError

    def embed(self, codes: Codes) -> Tensor:
        """The quantized latent of codes; equals what `forward` returns for them in eval, bit for bit."""
        raise NotImplementedError

    def codebook(self) -> Tensor:
        """The mapped codebook (K, D), the only way anything reads it."""
        raise NotImplementedError

    def codebook_indices(self, codes: Codes) -> Tensor:
        """The row of `codebook()` that each code stands for, (B, L); what usage is counted over."""
        return codes.indices_BL

    @property
    def vocabularies(self) -> tuple[int, ...]:
        """The number of values of each code that a position gets; see `CodeLayout`."""
        raise NotImplementedError

    def layout(self, positions: Positions) -> CodeLayout:
        """How the codes of a latent with these positions are arranged; raises if it cannot quantize them."""
        return CodeLayout(positions, self.vocabularies)

    def latent_positions(self, layout: CodeLayout) -> Positions:
        """The positions of the latent whose codes have this layout, the inverse of `layout`; raises if there are none."""
        return layout.positions

    def fold(self, label: int | None = None) -> Self:
        """A copy for inference: the mapped codebook replaces projector and raw codebook, nothing else changes.

        A quantizer made of others folds those; one with a projector overrides this.

        Args:
            label: Class whose codebook to keep, for a projector that maps the codebook for each class.

        Raises:
            UserError: A label, but no projector with classes; or a projector of its own, which only an override can fold.
        """
        parts = [module for module in self.modules() if isinstance(module, Quantizer) and module is not self]
        folded = {module for part in parts for module in part.modules()}
        own = [type(each).__name__ for each in find_projectors(self) if each not in folded and not each.is_identity]
        if own:
            raise UserError(f'{type(self).__name__}: override fold(), which would keep its {own[0]}.')
        if label is not None and not parts:
            raise UserError(f'{type(self).__name__} has no classes, so fold() takes no label, got {label}; drop it.')
        memo: dict[int, Any] = {id(part): part.fold(label) for part in parts}
        return copy.deepcopy(self, memo).eval()

    @property
    def takes_labels(self) -> bool:
        """Whether training calls `forward(z_BDHW, labels_B)`, with the class of each image: a projector has classes."""
        return any(projector.num_classes is not None for projector in find_projectors(self))

    def freeze(self) -> None:
        """Keep weights and buffers as they are; in training, gradients and losses still reach the latent."""
        for module in self.requires_grad_(False).modules():
            if isinstance(module, Quantizer):
                module.frozen = True

    @property
    def learns(self) -> bool:
        """Whether a forward pass may change buffers and codes."""
        return self.training and not self.frozen

    @property
    def depends_on_batch(self) -> bool:
        """Whether the codes of an image in evaluation depend on the other images of its batch."""
        return any(part.depends_on_batch for part in self.modules() if isinstance(part, Quantizer) and part is not self)

    @property
    def needs_init(self) -> bool:
        """Whether `initialize` wants latents before the first step (k-means start)."""
        return False

    def initialize(self, z_ND: Tensor) -> None:
        """Set codes from encoder outputs; called once before the first step if `needs_init`.

        A training loop does so with latents of several batches; otherwise the first training forward does, with its own.
        """
        raise NotImplementedError

    def fit_state(self, saved: Mapping[str, Tensor], source: str) -> FittedState:
        """What training loads of the state of a saved quantizer, which may lack what only training keeps.

        Quantizers inside this one are asked themselves. What cannot fit stays as it is, and is refused when it is loaded.
        `source` begins messages.
        """
        return FittedState(dict(saved))

    def maybe_initialize(self, z_ND: Tensor) -> None:
        """In a training forward: `initialize` if that is still due; every rank starts as the first."""
        if self.training and self.needs_init:
            self.initialize(z_ND.detach())
            copy_from_first_rank(self)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            return result if result.dtype == tensor.dtype else tensor.to(result.device)

        return super()._apply(moved, recurse)


@runtime_checkable
class NextScale(Protocol):
    """A quantizer whose codes are scales, coarse to fine, each added to the sum of the ones before.

    A next-scale generator (VAR) binds to it: it reads running sums, not codes.
    """

    code_dim: int

    def codebook(self) -> Tensor:
        """(K, D), the codes that every scale is made of."""
        ...

    def prefix_inputs(self, codes: Codes) -> Tensor:
        """Inputs of teacher forcing, (B, L - L_1, D) in the order of the codes: for each scale but the first, the sum of
        the scales before it, at its own size."""
        ...

    def advance(self, sum_BDHW: Tensor, codes_BDhw: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        """One step of sampling: the sum (zeros at first) with the codes of `scale` (from 0) added, and the next input.

        `codes_BDhw` are rows of `codebook()` at the scale's size, or mixtures of rows.
        """
        ...


@runtime_checkable
class DepthCodes(Protocol):
    """A quantizer with a stack of residual codes at each position.

    A generator of stacks (RQ-Transformer) binds to it: its inputs are embeddings of depths, its targets may be soft.
    """

    depth: int
    code_dim: int

    def codebooks(self, wait: bool = True) -> list[Tensor]:
        """The codes (K, D) of each depth; one tensor `depth` times if all share it. Without `wait` no device is waited for."""
        ...

    def embed_depth(self, codes: Codes, cumulative: bool = False) -> Tensor:
        """The embedding of each depth's code, (B, depth, D, H, W), or their running sums."""
        ...

    def soft_codes(
        self, z_BDHW: Tensor, temperature: float = 1.0, stochastic: bool = False, rng: torch.Generator | None = None
    ) -> tuple[Tensor, Codes]:
        """Soft targets (B, L, V), softmax(-distance / temperature) in the order of the codes, and hard codes.

        The hard codes are the nearest, or drawn from the softmax with `rng` if `stochastic`.
        """
        ...
