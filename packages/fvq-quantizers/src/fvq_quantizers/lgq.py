"""Learnable geometric quantization: trained on soft choices among all codes, used with hard ones (Altun et al., 2026)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import Codes
from fvq_core.errors import UserError
from fvq_core.ops.nearest_code import full_precision
from fvq_core.ops.ranks import mean_over_ranks
from fvq_core.quantizer import QuantizerOutput
from fvq_core.registry import DISTANCES, QUANTIZERS

from .chunked_softmax import over_row_chunks
from .codebook_quantizer import CodebookQuantizer
from .latents import check_codebook, check_latent, to_latent, to_vectors
from .shifted_logits import shifted_logits
from .updates.latent_sampling import random_latents


@QUANTIZERS.register_module()
class LGQ(CodebookQuantizer):
    """The nearest code, with the gradient of the soft choice p @ codebook, p = softmax(-|z - e|^2 / temperature).

    Latents and codes get that gradient from the decoder and from the loss mean |z_q - z|^2. Beside it, in training:
    `peak_weight` (1 - mean |p|^2), which makes choices confident, and `usage_weight` K |mean p|^2, at least `usage_weight`,
    which spreads them, with the mean over all ranks. arXiv 2602.16086; `flatten_channels` of the released code, whose
    weights and temperatures are the defaults. N x K probabilities are computed in chunks, again in the backward pass.

    Args:
        codebook_size: K.
        code_dim: D.
        temperature: Of the first training forward.
        final_temperature: After `temperature_steps`; 0.1 at the end of training as released.
        temperature_steps: Length of the linear schedule in training forwards (steps x micro-batches); 0 keeps the first.
        peak_weight: lambda_peak.
        usage_weight: lambda_bins.
        from_latents: Start from random latents of the first batches, as released; otherwise from N(0, 1).

    Raises:
        UserError: Sizes below 1, temperatures of 0 or less, negative weights or steps.

    Attributes:
        embedding: The codebook (K, D).
        steps: Training forwards so far.
        initialized: Whether codes have started from latents, uint8.
    """

    steps: Tensor
    initialized: Tensor

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        temperature: float = 1.0,
        final_temperature: float = 0.1,
        temperature_steps: int = 0,
        peak_weight: float = 0.005,
        usage_weight: float = 0.005,
        from_latents: bool = True,
    ) -> None:
        super().__init__(codebook_size, code_dim)
        if not min(temperature, final_temperature) > 0 or min(peak_weight, usage_weight, temperature_steps) < 0:
            raise UserError(
                'LGQ: temperatures must be above 0, weights and temperature_steps 0 or more, got '
                f'{temperature} and {final_temperature}, {peak_weight}, {usage_weight} and {temperature_steps}.'
            )
        self.first_temperature, self.final_temperature = temperature, final_temperature
        self.temperature_steps, self.peak_weight, self.usage_weight = temperature_steps, peak_weight, usage_weight
        self.distance = DISTANCES.build(dict(type='SquaredL2'))
        self.embedding = nn.Parameter(torch.empty(codebook_size, code_dim).normal_())
        self.register_buffer('steps', torch.zeros((), dtype=torch.int64))
        self.register_buffer('initialized', torch.tensor(not from_latents, dtype=torch.uint8))
        self._initialized = not from_latents  # a copy of `initialized` that needs no wait for the device

    @property
    def temperature(self) -> Tensor:
        """The temperature of the next training forward, a scalar on the device."""
        done = (self.steps / max(1, self.temperature_steps)).clamp(max=1.0) * bool(self.temperature_steps)
        return self.first_temperature + (self.final_temperature - self.first_temperature) * done

    def codebook(self) -> Tensor:
        return check_codebook(self, self.embedding.float())

    def forward(self, z_BDHW: Tensor) -> QuantizerOutput:
        positions, B = check_latent(self, z_BDHW), z_BDHW.shape[0]
        losses: dict[str, Tensor] = {}
        with full_precision(z_BDHW.device.type):
            z_ND = to_vectors(z_BDHW).float()
            self.maybe_initialize(z_ND)
            codebook_KD = self.codebook()
            with torch.no_grad():
                indices_N = self.distance.search(z_ND, codebook_KD)
            z_q_ND = F.embedding(indices_N, codebook_KD)
            if self.training:
                z_q_ND, losses = self._soft(z_ND, codebook_KD, z_q_ND.detach())
                self.steps += self.learns
        codes = Codes(indices_N.view(B, -1), self.layout(positions))
        return QuantizerOutput(to_latent(z_q_ND, positions), codes, to_latent(z_ND, positions), losses)

    def _soft(self, z_ND: Tensor, codebook_KD: Tensor, hard_ND: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The codes with the soft choice's gradient, and the losses."""
        temperature, logits_of = self.temperature, shifted_logits(self.distance, codebook_KD)

        def chunk(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            with full_precision(z.device.type):
                p_NK = (logits_of(z, codebook_KD) / temperature).softmax(1)
                return p_NK @ codebook_KD, p_NK.square().sum(), p_NK.sum(0)

        soft, peaks, uses = zip(*over_row_chunks(chunk, z_ND, self.codebook_size), strict=True)
        soft_ND, N = torch.cat(soft), len(z_ND)
        z_q_ND = hard_ND + (soft_ND - soft_ND.detach())
        losses = {'quantization': F.mse_loss(z_q_ND, z_ND)}
        if self.peak_weight:
            losses['peak'] = self.peak_weight * (1 - torch.stack(peaks).sum() / N)
        if self.usage_weight:
            mean_K = mean_over_ranks(torch.stack(uses).sum(0) / N)
            losses['usage'] = self.usage_weight * self.codebook_size * mean_K.square().sum()
        return z_q_ND, losses

    @property
    def needs_init(self) -> bool:
        if not self._initialized:
            self._initialized = bool(self.initialized)
        return not self._initialized

    @torch.no_grad()
    def initialize(self, z_ND: Tensor) -> None:
        if self.frozen:
            raise UserError(
                'LGQ: frozen, but its codes have yet to start from latents; start from weights (--init-from).'
            )
        self.embedding.copy_(random_latents(z_ND.detach().float(), self.codebook_size))
        self.initialized.fill_(1)

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        self._initialized = False
        super()._load_from_state_dict(*args, **kwargs)  # pyrefly: ignore[bad-argument-type]
