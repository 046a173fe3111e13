"""The base of quantizers with an implicit codebook: every channel takes one of a few fixed values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import cast

import torch
from torch import Tensor, nn

from fvq_core.codes import Codes
from fvq_core.errors import UserError
from fvq_core.ops.nearest_code import full_precision
from fvq_core.quantizer import Quantizer, QuantizerOutput

from .digits import Order, digits_to_index, index_to_digits
from .latents import check_codes, check_finite, check_latent, to_latent, to_vectors


class ImplicitQuantizer(Quantizer):
    """What LFQ, BSQ and FSQ share: projections, groups, indices, codebook.

    A latent (N, D) is read as G codes of C channels, through a linear map if D is not G x C. Channel c of a code holds a
    digit in [0, levels[c]); the digits of a token, as one number, are its index. A subclass defines how latents are
    brought to the scale of the codes (`bound`), which digits they get (`choose`), the values of digits (`values`) and the
    training losses (`losses`, `latent_losses`). Everything runs in float32 outside autocast.

    Args:
        levels: Number of values of each of the C channels of a code, 2 or more.
        code_dim: D; by default G x C.
        groups: G, codes of a position, which share one rule; slots of their layout.
        token_channels: Channels of each token that a code is split into; by default one token has all C.
        order: 'little': the first channel is the lowest digit of an index; 'big': the highest.
        project: Put linear maps around the codes; by default if D is not G x C.
        project_bias: Whether these maps have a bias.
    """

    perturbs = False  # whether training decodes other values than the codes
    anchor: Tensor

    def __init__(
        self,
        levels: Sequence[int],
        code_dim: int | None = None,
        groups: int = 1,
        token_channels: Sequence[int] | None = None,
        order: Order = 'little',
        project: bool | None = None,
        project_bias: bool = True,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if isinstance(levels, int) or groups < 1 or not levels or min(levels) < 2:
            raise UserError(
                f'{name}: expected 1 or more groups and a list of 2 or more levels per channel, got {groups} and {levels}.'
            )
        if code_dim is not None and code_dim < 1:
            raise UserError(f'{name}: code_dim must be 1 or more, got {code_dim}; drop it for groups x channels.')
        if order not in ('little', 'big'):
            raise UserError(f"{name}: the order of digits is 'little' or 'big', got '{order}'.")
        self.levels, self.groups = tuple(levels), groups
        self.order: Order = order
        C = len(self.levels)
        self.token_channels = tuple(token_channels or (C,))
        if sum(self.token_channels) != C or min(self.token_channels) < 1:
            raise UserError(f'{name}: tokens of {self.token_channels} channels do not make up {C}; change one of them.')
        self.codebook_size, self.code_dim = prod(self.levels), code_dim or groups * C
        self.projected = self.code_dim != groups * C if project is None else project
        if not self.projected and self.code_dim != groups * C:
            raise UserError(
                f'{name}: {groups} x {C} channels of codes need a projection to code_dim {self.code_dim}; drop project=False.'
            )
        self.project_in: nn.Module = nn.Identity()
        self.project_out: nn.Module = nn.Identity()
        if self.projected:
            self.project_in = nn.Linear(self.code_dim, groups * C, bias=project_bias)
            self.project_out = nn.Linear(groups * C, self.code_dim, bias=project_bias)
        self.register_buffer('anchor', torch.empty(0), persistent=False)  # tells the device if there is no weight

    def bound(self, z_NGC: Tensor) -> Tensor:
        """Latents on the scale of the codes, differentiable."""
        return z_NGC

    def choose(self, x_NGC: Tensor) -> Tensor:
        """Digits of bounded latents, int64."""
        raise NotImplementedError

    def values(self, digits_NGC: Tensor) -> Tensor:
        """The values of digits, float32, channel by channel."""
        raise NotImplementedError

    def losses(self, x_NGC: Tensor, codes_NGC: Tensor) -> dict[str, Tensor]:
        """Weighted loss terms of a training step."""
        return {}

    def latent_losses(self, z_NGC: Tensor) -> dict[str, Tensor]:
        """More of them, of latents before they are bounded."""
        return {}

    def estimate(self, x_NGC: Tensor, codes_NGC: Tensor) -> Tensor:
        """The codes, to the bit, with the gradient of the bounded latents (straight-through)."""
        return codes_NGC + (x_NGC - x_NGC.detach())

    def enter(self, z_BDHW: Tensor) -> Tensor:
        """Bounded latents (N, G, C)."""
        return self.bound(self._read(z_BDHW))

    def _read(self, z_BDHW: Tensor) -> Tensor:
        return self.project_in(to_vectors(z_BDHW).float()).unflatten(1, (self.groups, -1))

    def forward(self, z_BDHW: Tensor) -> QuantizerOutput:
        """See `Quantizer`; `z_BDHW` of the output is what would be decoded without rounding."""
        positions, B = check_latent(self, z_BDHW), z_BDHW.shape[0]
        with full_precision(z_BDHW.device.type):
            z_NGC = self._read(z_BDHW)
            x_NGC = self.bound(z_NGC)
            check_finite(self, x_NGC, 'the bounded latents', B)
            digits_NGC = self.choose(x_NGC)
            codes_NGC = self.values(digits_NGC)
            if self.training:
                losses = {**self.losses(x_NGC, codes_NGC), **self.latent_losses(z_NGC)}
                z_q_ND = self.project_out(self.estimate(x_NGC, codes_NGC).flatten(1))
            else:
                losses, z_q_ND = {}, self._leave(codes_NGC)
            z_ND = self.project_out(x_NGC.flatten(1))
        codes = Codes(self.tokens(digits_NGC).view(B, -1), self.layout(positions))
        return QuantizerOutput(to_latent(z_q_ND, positions), codes, to_latent(z_ND, positions), losses)

    def tokens(self, digits_NGC: Tensor) -> Tensor:
        """The tokens of codes, (N, T): those of each group in turn."""
        split = zip(digits_NGC.split(self.token_channels, 2), self.token_levels, strict=True)
        return torch.stack([digits_to_index(digits, levels, self.order) for digits, levels in split], 2).flatten(1)

    @property
    def token_levels(self) -> list[tuple[int, ...]]:
        """The levels of the channels of each token."""
        ends = [sum(self.token_channels[: i + 1]) for i in range(len(self.token_channels))]
        return [self.levels[end - size : end] for end, size in zip(ends, self.token_channels, strict=True)]

    def _leave(self, codes_NGC: Tensor) -> Tensor:
        """Codes to latents (N, D), with the same bits whatever their number."""
        return reduce(torch.add, self._shares(codes_NGC)) if self.projected else codes_NGC.flatten(1)

    def _shares(self, codes_NGC: Tensor) -> list[Tensor]:
        """What each group adds to the projected latent, (N, D) each; the first includes the bias.

        Summed channel by channel, because the last bits of a matrix product depend on its number of rows.
        """
        linear = cast(nn.Linear, self.project_out)
        weight_GCD = linear.weight.t().unflatten(0, (self.groups, -1))
        shares: list[Tensor] = []
        for codes_NC, weight_CD in zip(codes_NGC.unbind(1), weight_GCD, strict=True):
            columns = zip(codes_NC.unbind(1), weight_CD.unbind(), strict=True)
            shares.append(reduce(torch.add, [code_N[:, None] * weight_D for code_N, weight_D in columns]))
        if linear.bias is not None:
            shares[0] = shares[0] + linear.bias
        return shares

    def embed(self, codes: Codes) -> Tensor:
        positions = check_codes(self, codes)
        return to_latent(self._leave(self.values(self.digits(codes))), positions)

    def digits(self, codes: Codes) -> Tensor:
        """Digits (N, G, C) of codes."""
        return self.digits_of(codes.indices_BL)

    def digits_of(self, tokens_NT: Tensor) -> Tensor:
        """Digits (N, G, C) of the tokens of N positions."""
        tokens = tokens_NT.reshape(-1, self.groups, len(self.token_channels)).unbind(2)
        split = zip(tokens, self.token_levels, strict=True)
        return torch.cat([index_to_digits(token, levels, self.order) for token, levels in split], 2)

    def codebook(self) -> Tensor:
        """Every code (K, D), through the projection if there is one.

        With several groups: (K, C) without a projection, shared by all groups, whose codes are concatenated in a latent;
        (G x K, D) with a projection, what each group adds to the latent.
        """
        index_K = torch.arange(self.codebook_size, device=self.anchor.device)
        codes_KGC = self.values(index_to_digits(index_K, self.levels, self.order).unsqueeze(1))
        if not self.projected:
            return codes_KGC.flatten(1)
        return torch.cat(self._shares(codes_KGC.expand(-1, self.groups, -1)))

    def codebook_indices(self, codes: Codes) -> Tensor:
        """Rows of `codebook()`, (B, H x W x G): one row per code, whatever its number of tokens."""
        index_NG = digits_to_index(self.digits(codes), self.levels, self.order)
        if self.projected:
            index_NG = index_NG + self.codebook_size * torch.arange(self.groups, device=index_NG.device)
        return index_NG.view(codes.indices_BL.shape[0], -1)

    @property
    def vocabularies(self) -> tuple[int, ...]:
        return tuple(prod(levels) for levels in self.token_levels) * self.groups
