"""KL autoencoders (Rombach et al., 2022, "Latent diffusion"): an image becomes a distribution of continuous latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..autoencoder import Autoencoder, AutoencoderOutput
from ..errors import UserError
from ..latents import check_scale
from ..ops.diagonal_gaussian import LOG_VARIANCES, DiagonalGaussian
from ..registry import DECODERS, ENCODERS, TOKENIZERS
from ..registry.argument_types import check_sizes
from .layers.quant_convolution import quant_convolution


@TOKENIZERS.register_module()
class KLAutoencoder(Autoencoder):
    """encoder -> pre_quant -> mean and log variance -> a draw in training, the mean in eval -> post_quant -> decoder.

    The loss term `kl` is `kl_weight` x the divergence from a standard normal distribution, *summed* over an image and
    averaged over the batch. It belongs to a likelihood that is summed over an image too (`NLLLoss`): beside losses that
    are means over pixels, the published 1e-6 would be 196,608 times as strong (256x256).

    Args:
        encoder: Config of a component of `ENCODERS`. Half of its channels become the mean, half the log variance, so
            `z_channels` is twice the decoder's.
        decoder: Config of a component of `DECODERS`.
        latent_channels: D, channels of the latent.
        kl_weight: 1e-6 as released.
        latent_scale, latent_shift: A generator sees scale (latent - shift); see `LatentLayout`. 0.18215 for Stable
            Diffusion's f = 8, 0.2325 for MAR's f = 16.
        log_variance: A constant in place of what the encoder would give, whose channels are then all the mean's; 1.0 is
            MAR's `use_variational=False`.
        quant_kernel: Kernel of the convolutions between features and latent; 0 for none.
    """

    variational = True

    def __init__(
        self,
        encoder: Mapping[str, Any],
        decoder: Mapping[str, Any],
        latent_channels: int,
        kl_weight: float = 1e-6,
        latent_scale: float = 1.0,
        latent_shift: float = 0.0,
        log_variance: float | None = None,
        quant_kernel: int = 1,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_sizes(name, latent_channels=latent_channels)
        check_scale(name, latent_scale, latent_shift)
        if not 0 <= kl_weight < float('inf'):
            raise UserError(f'{name}: kl_weight must be 0 or more, got {kl_weight}; 1e-6 is the published value.')
        low, high = LOG_VARIANCES
        if log_variance is not None and not low <= log_variance <= high:
            raise UserError(f'{name}: log_variance must lie from {low:g} to {high:g}, got {log_variance}.')
        self.encoder = ENCODERS.build(encoder)
        self.decoder = DECODERS.build(decoder, latent_channels=latent_channels)
        self.check_scale_factors()
        self.latent_channels, self.kl_weight, self.log_variance = latent_channels, kl_weight, log_variance
        self.latent_scale, self.latent_shift = latent_scale, latent_shift
        given = latent_channels * (2 if log_variance is None else 1)
        self.pre_quant = quant_convolution(name, self.encoder, self.encoder.out_channels, given, quant_kernel)
        self.post_quant = quant_convolution(name, self.encoder, latent_channels, self.decoder.in_channels, quant_kernel)

    def posterior(self, images_BCHW: Tensor) -> DiagonalGaussian:
        found = self.pre_quant(self.features(images_BCHW)).float()  # an exponential, and a sum over an image
        if self.log_variance is None:
            return DiagonalGaussian.from_moments(found)
        return DiagonalGaussian(found, torch.full_like(found, self.log_variance))

    def encode_latent(self, images_BCHW: Tensor) -> Tensor:
        return self.posterior(images_BCHW).mode()

    def decode_latent(self, z_BDHW: Tensor) -> Tensor:
        z_BDHW = self.checked_latent(z_BDHW)
        return self.decoder(self.post_quant(z_BDHW), z_BDHW)

    def forward(self, images_BCHW: Tensor, labels_B: Tensor | None = None) -> AutoencoderOutput:
        if not self.training:
            return super().forward(images_BCHW, labels_B)
        self.check_labels(labels_B)
        posterior = self.posterior(images_BCHW)
        losses = {'kl': self.kl_weight * posterior.kl().mean()}
        reconstruction = self.decode_latent(posterior.sample())
        return AutoencoderOutput(reconstruction, losses, latent_abs_max=self.largest(posterior.mean))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Eight channels where no convolution stands between the latent and the small halves."""
        if cfg.get('quant_kernel', 1):
            return {}
        return dict(latent_channels=8, encoder=dict(z_channels=16), decoder=dict(z_channels=8))
