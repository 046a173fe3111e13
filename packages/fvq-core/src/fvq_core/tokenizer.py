"""Tokenizers, the autoencoders with codes: what is exported is what was trained, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .autoencoder import Autoencoder, AutoencoderOutput
from .autoencoders.layers.quant_convolution import quant_convolution
from .codes import CodeLayout, Codes, LatentLayout, Latents
from .errors import UserError
from .quantizer import Quantizer
from .registry import DECODERS, ENCODERS, QUANTIZERS, TOKENIZERS


@TOKENIZERS.register_module()
class Tokenizer(Autoencoder):
    """encoder -> pre_quant -> quantizer -> post_quant -> decoder.

    Args:
        encoder: Config of a component of `ENCODERS`.
        quantizer: Config of a component of `QUANTIZERS`.
        decoder: Config of a component of `DECODERS`.
        quant_kernel: Kernel of the convolutions between features and latent: 1 (VQGAN, LlamaGen) or 3 (VAR); 0 for none
            (Open-MAGVIT2), if encoder, quantizer and decoder have the same channels.
    """

    def __init__(
        self,
        encoder: Mapping[str, Any],
        quantizer: Mapping[str, Any],
        decoder: Mapping[str, Any],
        quant_kernel: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = ENCODERS.build(encoder)
        self.quantizer: Quantizer = QUANTIZERS.build(quantizer)
        self.decoder = DECODERS.build(decoder, latent_channels=self.quantizer.code_dim)
        self.check_scale_factors()
        name, D = type(self).__name__, self.quantizer.code_dim
        self.latent_channels = D
        self.pre_quant = quant_convolution(name, self.encoder, self.encoder.out_channels, D, quant_kernel)
        self.post_quant = quant_convolution(name, self.encoder, D, self.decoder.in_channels, quant_kernel)

    def encode_latent(self, images_BCHW: Tensor) -> Tensor:
        return self.pre_quant(self.features(images_BCHW))

    def decode_latent(self, z_BDHW: Tensor) -> Tensor:
        z_BDHW = self.checked_latent(z_BDHW)
        return self.decoder(self.post_quant(z_BDHW), z_BDHW)

    @property
    def takes_labels(self) -> bool:
        return self.quantizer.takes_labels

    def layout(self, height: int, width: int) -> CodeLayout:
        """How the codes of an image of this size in pixels are arranged: positions of the encoder x slots of the quantizer."""
        return self.quantizer.layout(self.encoder.positions(height, width))

    def check_layout(self, layout: CodeLayout | LatentLayout) -> None:
        if not isinstance(layout, CodeLayout):
            return super().check_layout(layout)
        positions = self.quantizer.latent_positions(layout)
        self.encoder.check_positions(positions)
        if self.quantizer.layout(positions) != layout:
            raise UserError(f'{type(self).__name__} has codes of {self.quantizer.layout(positions)}, not of {layout}.')

    def encode(self, images_BCHW: Tensor) -> Codes:
        """Images to codes.

        Args:
            images_BCHW: (B, C, H, W) in [-1, 1], of any floating dtype, on the tokenizer's device; `fvq_core.images.from_uint8`
                makes them of uint8 pixels. Images in [0, 1] must be scaled (2 x - 1): they are valid bright images, and
                only on a CPU is there a warning.

        Raises:
            UserError: Something else than such images, or sides that are not multiples of `downsample_factor`.
            NonFiniteError: Pixels (looked at on a CPU), latents or codes that are NaN or infinite.
        """
        return self.quantizer(self.encode_latent(images_BCHW)).codes

    def decode(self, encoded: Codes | Latents) -> Tensor:
        """`Codes` of its vocabulary, or `Latents`, which are quantized first, to images, nominally in [-1, 1], not clamped."""
        if isinstance(encoded, Latents):
            self.check_layout(encoded.layout)
            return self.decode_latent(self.quantizer(encoded.values).z_q_BDHW)
        return self.decode_latent(self.quantizer.embed(encoded))

    def forward(self, images_BCHW: Tensor, labels_B: Tensor | None = None) -> AutoencoderOutput:
        """See `encode`; in training also the images' classes, if `takes_labels`."""
        self.check_labels(labels_B)
        z_BDHW = self.encode_latent(images_BCHW)
        out = self.quantizer(z_BDHW) if labels_B is None else self.quantizer(z_BDHW, labels_B)
        return AutoencoderOutput(self.decode_latent(out.z_q_BDHW), out.losses, out, self.largest(z_BDHW))

    def fold(self, label: int | None = None) -> Tokenizer:
        """A copy for inference with the quantizer folded (see its `fold`): same codes and same pixels, no projector."""
        quantizer = self.quantizer.fold() if label is None else self.quantizer.fold(label)
        return copy.deepcopy(self, {id(self.quantizer): quantizer}).eval()
