"""Autoencoders and tokenizers: what is exported is what was trained, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .codes import CodeLayout, Codes, Grid
from .errors import UserError
from .images import check_images
from .quantizer import Quantizer
from .registry import DECODERS, ENCODERS, QUANTIZERS, TOKENIZERS
from .saving.kind import Contents, SavedKind
from .saving.read_folder import load_folder
from .saving.saved_model import SavedModel
from .tokenizer_card import tokenizer_card


class Autoencoder(nn.Module):
    """Images to latents and back; continuous (KL) autoencoders stop here, tokenizers add codes.

    Attributes:
        downsample_factor: Image height and width must be multiples of it.
    """

    downsample_factor: int

    def encode_latent(self, images_BCHW: Tensor) -> Tensor:
        """Float images (B, C, H, W) in [-1, 1] to the latent (B, D, H/f, W/f)."""
        raise NotImplementedError

    def decode_latent(self, z_BDHW: Tensor) -> Tensor:
        """A latent to images, nominally in [-1, 1], not clamped."""
        raise NotImplementedError


@dataclass
class TokenizerOutput:
    """What a tokenizer's forward pass returns.

    Attributes:
        reconstruction: Images, nominally in [-1, 1], not clamped.
        codes: The chosen codes.
        z_BDHW: The latent as the quantizer compared it with its codes; None where it does not.
        z_q_BDHW: The quantized latent that was decoded.
        losses: The quantizer's weighted loss terms.
        largest_latent: In training the largest magnitude that the encoder gave, a scalar: NaN or infinite if a latent is.
    """

    reconstruction: Tensor
    codes: Codes
    z_BDHW: Tensor | None
    z_q_BDHW: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)
    largest_latent: Tensor | None = None


@TOKENIZERS.register_module()
class Tokenizer(SavedModel, Autoencoder):
    """encoder -> pre_quant -> quantizer -> post_quant -> decoder.

    Args:
        encoder: Config of a component of `ENCODERS`.
        quantizer: Config of a component of `QUANTIZERS`.
        decoder: Config of a component of `DECODERS`.
        quant_kernel: Kernel of the convolutions between features and latent: 1 (VQGAN, LlamaGen) or 3 (VAR); 0 for none
            (Open-MAGVIT2), where encoder, quantizer and decoder have the same channels.
    """

    saved_kind = SavedKind('tokenizer', TOKENIZERS, remedy='export the tokenizer again with tools/export.py')

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
        self.decoder = DECODERS.build(decoder)
        self.downsample_factor = self.encoder.downsample_factor
        if self.decoder.upsample_factor != self.downsample_factor:
            raise UserError(
                f'Tokenizer: the encoder divides the side by {self.downsample_factor}, the decoder multiplies it by '
                f'{self.decoder.upsample_factor}; give both the same number of levels.'
            )
        if quant_kernel and self.encoder.kind is not Grid:
            raise UserError(
                f'Tokenizer: quant_kernel {quant_kernel} is a convolution over a grid, {type(self.encoder).__name__} gives '
                'a sequence; use quant_kernel=0.'
            )
        D = self.quantizer.code_dim
        self.pre_quant = quant_convolution(self.encoder.out_channels, D, quant_kernel)
        self.post_quant = quant_convolution(D, self.decoder.in_channels, quant_kernel)

    def encode_latent(self, images_BCHW: Tensor) -> Tensor:
        check_images('Tokenizer', images_BCHW, self.encoder.in_channels, self._device)
        self.encoder.positions(*images_BCHW.shape[-2:])  # checks their size
        return self.pre_quant(self.encoder(images_BCHW.to(self._dtype)))

    def decode_latent(self, z_BDHW: Tensor) -> Tensor:
        D = self.quantizer.code_dim
        if (
            not isinstance(z_BDHW, Tensor)
            or z_BDHW.dim() != (4 if self.encoder.kind is Grid else 3)
            or z_BDHW.shape[1] != D
            or not z_BDHW.is_floating_point()
        ):
            given = f'{z_BDHW.dtype} {tuple(z_BDHW.shape)}' if isinstance(z_BDHW, Tensor) else type(z_BDHW).__name__
            shape = f'(B, {D}, H, W)' if self.encoder.kind is Grid else f'(B, {D}, L)'
            raise UserError(f'Tokenizer: expected a float latent {shape}, got {given}; codes are decoded by decode().')
        return self.decoder(self.post_quant(z_BDHW.to(self._dtype)), z_BDHW)

    @property
    def _dtype(self) -> torch.dtype:
        """What encoder and decoder compute in; the quantizer stays float32."""
        return next((parameter.dtype for parameter in self.decoder.parameters()), torch.float32)

    @property
    def _device(self) -> torch.device:
        return next((parameter.device for parameter in self.decoder.parameters()), torch.device('cpu'))

    def layout(self, height: int, width: int) -> CodeLayout:
        """How the codes of an image of this size, in pixels, lie: positions of the encoder x slots of the quantizer.

        Raises:
            UserError: Images of this size cannot be encoded.
        """
        return self.quantizer.layout(self.encoder.positions(height, width))

    @torch.no_grad()
    def check_layout(self, layout: CodeLayout) -> None:
        """Raise if codes of this layout cannot be this tokenizer's.

        Raises:
            UserError: Other positions or vocabularies than it has.
        """
        one = Codes(torch.zeros(1, layout.length, dtype=torch.int64, device=self._device), layout)
        if self.quantizer.embed(one).dim() != (4 if self.encoder.kind is Grid else 3):
            raise UserError(f'Tokenizer: cannot decode {layout}; its codes lie on a {self.encoder.kind.__name__}.')

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

    def decode(self, codes: Codes) -> Tensor:
        """Codes to images, nominally in [-1, 1], not clamped.

        Raises:
            UserError: Something else than `Codes`, or codes of another layout or vocabulary.
        """
        return self.decode_latent(self.quantizer.embed(codes))

    def forward(self, images_BCHW: Tensor, labels_B: Tensor | None = None) -> TokenizerOutput:
        """See `encode`; in training also the images' classes, if `quantizer.takes_labels`."""
        z_BDHW = self.encode_latent(images_BCHW)
        largest = z_BDHW.detach().abs().amax() if self.training and z_BDHW.numel() else None
        out = self.quantizer(z_BDHW) if labels_B is None else self.quantizer(z_BDHW, labels_B)
        return TokenizerOutput(
            self.decode_latent(out.z_q_BDHW), out.codes, out.z_BDHW, out.z_q_BDHW, out.losses, largest
        )

    def fold(self, label: int | None = None) -> Tokenizer:
        """A copy for inference with the quantizer folded: same codes and same pixels, no projector.

        Args:
            label: The class whose codebook is kept, for a class-conditional projector; see the quantizer's `fold`.
        """
        folded = copy.copy(self)
        folded._modules = {**self._modules, 'quantizer': None}
        folded = copy.deepcopy(folded)
        folded.quantizer = self.quantizer.fold() if label is None else self.quantizer.fold(label)
        return folded.eval()

    def contents(self) -> Contents:
        return Contents(
            self.saved_kind,
            self.saved_kind.describe(self),
            self.state_dict(),
            card=lambda name: tokenizer_card(self, name),
            loaded_facts=self.loaded_facts,
        )

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:  # pyrefly: ignore[bad-override]
        tokenizer, config = load_folder(folder, cls.saved_kind)
        tokenizer.loaded_facts = cls.saved_kind.facts(config)
        return tokenizer


def quant_convolution(in_channels: int, out_channels: int, kernel: int) -> nn.Module:
    """The convolution between features and latent; the identity where its kernel is 0.

    Raises:
        UserError: An even kernel, or no convolution between channels that differ.
    """
    if kernel == 0 and in_channels == out_channels:
        return nn.Identity()
    if kernel % 2 == 0:
        raise UserError(
            f'Tokenizer: quant_kernel {kernel} cannot lead from {in_channels} to {out_channels} channels; use an odd one, '
            'or 0 where z_channels is the code_dim of the quantizer.'
        )
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
