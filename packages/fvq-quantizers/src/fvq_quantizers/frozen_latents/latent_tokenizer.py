"""A quantizer between the halves of a frozen autoencoder: images to codes and back, trained on its latents alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder, AutoencoderOutput
from fvq_core.codes import Grid, LatentLayout, Latents
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS
from fvq_core.tokenizer import Tokenizer

from .latent_encoder import LatentEncoder


@TOKENIZERS.register_module()
class LatentTokenizer(Tokenizer):
    """The autoencoder's encoder -> adapter -> quantizer -> rectifier -> the autoencoder's decoder.

    A continuous autoencoder has already learned to compress; a quantizer on its latents makes a tokenizer of it, and a network
    behind the quantizer takes part of the error away (ReVQ, Zhang et al., 2025, arXiv 2507.10547; CODA, Liu et al., 2025,
    arXiv 2503.17760). It is a `Tokenizer` of images everywhere but in `forward`, which takes `Latents` too: training on a
    store of them (`FrozenLatentsTask`) runs neither half of the autoencoder.

    Args:
        encoder: Config of a `LatentEncoder`: the autoencoder and the adapter.
        quantizer: Config of any component of `QUANTIZERS`.
        decoder: The rectifier, from quantized features to normalized latents: config of a component of `DECODERS` that gives
            latents where others give images; `AffineDecoder` by default.
        quant_kernel: See `Tokenizer`; none by default, if adapter, quantizer and rectifier have the same channels.

    Raises:
        UserError: Another encoder, or a rectifier that does not give latents of the size that the adapter took.
    """

    encoder: LatentEncoder  # pyrefly: ignore[bad-override-mutable-attribute]

    def __init__(
        self,
        encoder: Mapping[str, Any],
        quantizer: Mapping[str, Any],
        decoder: Mapping[str, Any] | None = None,
        quant_kernel: int = 0,
    ) -> None:
        super().__init__(encoder, quantizer, decoder or dict(type='AffineDecoder'), quant_kernel)

    def check_scale_factors(self) -> None:
        if not isinstance(self.encoder, LatentEncoder):
            raise UserError(f'LatentTokenizer: its encoder is a LatentEncoder, got {type(self.encoder).__name__}.')
        down, up = self.encoder.adapter.downsample_factor, self.decoder.upsample_factor
        if down != up:
            raise UserError(
                f'LatentTokenizer: the adapter divides the side of the latents by {down}, the decoder multiplies it by {up}; '
                'give both the same factor.'
            )

    @property
    def autoencoder(self) -> Autoencoder:
        """The continuous autoencoder."""
        return self.encoder.autoencoder

    @property
    def _dtype(self) -> torch.dtype:
        return self.autoencoder._dtype

    @property
    def _device(self) -> torch.device:
        return self.autoencoder._device

    def features(self, images_BCHW: Tensor | Latents) -> Tensor:
        if isinstance(images_BCHW, Latents):
            return self.encoder.adapt(images_BCHW)
        return super().features(images_BCHW)

    def rectify(self, z_BDHW: Tensor) -> Tensor:
        """A quantized latent to the normalized latent of the autoencoder, (B, D, h, w)."""
        z_BDHW = self.checked_latent(z_BDHW)
        rectified = self.decoder(self.post_quant(z_BDHW), z_BDHW)
        D = self.autoencoder.latent_channels
        if rectified.shape[1] != D:
            name, given = type(self.decoder).__name__, rectified.shape[1]
            raise UserError(
                f'LatentTokenizer: the latents have {D} channels, {name} gives {given}; set out_channels={D}.'
            )
        return rectified

    def decode_latent(self, z_BDHW: Tensor) -> Tensor:
        source = self.autoencoder
        layout = LatentLayout(Grid(1, 1), source.latent_channels, source.latent_scale, source.latent_shift)
        return source.decode_latent(layout.denormalize(self.rectify(z_BDHW)))

    def forward(self, images_BCHW: Tensor | Latents, labels_B: Tensor | None = None) -> AutoencoderOutput:
        """As `Tokenizer.forward`; of `Latents` the reconstruction is the rectified latent, normalized, (B, D, h, w)."""
        if not isinstance(images_BCHW, Latents):
            return super().forward(images_BCHW, labels_B)
        self.check_labels(labels_B)
        z_BDHW = self.pre_quant(self.features(images_BCHW))
        out = self.quantizer(z_BDHW) if labels_B is None else self.quantizer(z_BDHW, labels_B)
        return AutoencoderOutput(self.rectify(out.z_q_BDHW), out.losses, out, self.largest(z_BDHW))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Latents of one size become those of 64 pixels, with as many groups of codes fewer."""
        adapter, quantizer = cfg['encoder'].get('adapter') or {}, cfg['quantizer']
        if 'height' in adapter:
            with torch.device('meta'):
                side = 64 // TOKENIZERS.build(cfg['encoder']['autoencoder']).downsample_factor
            quantizer['groups'] = quantizer['groups'] * side**2 // (adapter['height'] * adapter['width'])
            for node in (adapter, cfg['decoder']):
                node.update(height=side, width=side)
        return {}
