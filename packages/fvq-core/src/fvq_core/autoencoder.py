"""The contract of autoencoders and of their halves: images to codes or continuous latents and back."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from .codes import CodeLayout, Codes, Grid, LatentLayout, Latents, Positions
from .errors import UserError
from .images import check_images
from .ops.diagonal_gaussian import DiagonalGaussian
from .ops.finite import can_sync, check_finite_images
from .quantizer import Quantizer, QuantizerOutput
from .registry import TOKENIZERS
from .saving.kind import SavedKind, SaveSpec
from .saving.read_folder import load_folder
from .saving.saved_model import SavedModel
from .tokenizer_card import autoencoder_card


class Encoder(nn.Module):
    """Images (B, C, H, W) to features: (B, E, H/f, W/f), or (B, E, L) of an encoder of sequences (TiTok).

    Attributes:
        in_channels: C.
        out_channels: E.
        downsample_factor: f; image height and width must be multiples of it.
        kind: Type of the positions it produces: `Grid`, or `Sequence`, which an encoder of sequences must set.
    """

    kind: ClassVar[type[Positions]] = Grid
    in_channels: int
    out_channels: int
    downsample_factor: int

    def positions(self, height: int, width: int) -> Positions:
        """The positions, of its `kind`, of the features of images of this size in pixels; raises if it cannot encode them."""
        f = self.downsample_factor
        if height % f or width % f or not height or not width:
            raise UserError(
                f'{type(self).__name__}: image sides must be multiples of {f}, got {height}x{width}; crop or resize it.'
            )
        return Grid(height // f, width // f)

    def check_positions(self, positions: Positions) -> None:
        """Raise if features of this encoder cannot have these positions; one that gives a fixed number overrides it."""
        if not isinstance(positions, self.kind):
            raise UserError(f'{type(self).__name__} gives a {self.kind.__name__}, not {positions}.')

    @property
    def example_size(self) -> tuple[int, int]:
        """Height and width of images that it takes, for the model card; an encoder of images of one size overrides this."""
        side = -(-256 // self.downsample_factor) * self.downsample_factor
        return side, side


class Decoder(nn.Module):
    """Features to images; the inverse of an encoder.

    Attributes:
        in_channels: Channels of the features.
        upsample_factor: f of the encoder.
    """

    in_channels: int
    upsample_factor: int

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight of the last layer, which adaptive adversarial weights look at."""
        raise NotImplementedError

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W), nominally in [-1, 1], not clamped.

        Args:
            features_BEHW: The latent after the convolution behind the quantizer.
            z_q_BDHW: The quantized latent itself, for decoders that are modulated by it (MoVQ); others ignore it.
        """
        raise NotImplementedError


@dataclass
class AutoencoderOutput:
    """What an autoencoder's forward pass returns.

    Attributes:
        reconstruction: Images, nominally in [-1, 1], not clamped.
        losses: Weighted terms to add to the training loss, scalars by name; empty in eval.
        quantized: What the quantizer of a tokenizer returned; None of a continuous autoencoder.
        latent_abs_max: In training, the largest magnitude that the encoder gave, a scalar: NaN or infinite if a latent is.
    """

    reconstruction: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)
    quantized: QuantizerOutput | None = None
    latent_abs_max: Tensor | None = None

    @property
    def codes(self) -> Codes | None:
        """The chosen codes; None of a continuous autoencoder."""
        return None if self.quantized is None else self.quantized.codes


class Autoencoder(SavedModel, nn.Module):
    """Images to latents and back. A `Tokenizer` is the discrete one; a subclass without a quantizer is continuous (KL).

    A continuous one has `encode_latent` and `decode_latent`, and a `forward` of its own if it draws latents or has losses;
    if it is `variational`, `posterior` too. In eval mode its latents must not be random. It trains through `TokenizerTask`,
    and is saved and loaded as tokenizers are.

    Attributes:
        encoder: Images to features.
        decoder: Features to images.
        quantizer: None of a continuous autoencoder.
        latent_channels: D, channels of the latent.
        latent_scale, latent_shift: Scale and shift of a continuous one; see `LatentLayout`.
        variational: Whether it gives an image a distribution of latents (`posterior`), which stores then hold.
        downsample_factor: f; image height and width must be multiples of it.
    """

    saved_kind = SavedKind('tokenizer', TOKENIZERS, remedy='export the tokenizer again with tools/export.py')
    encoder: Encoder
    decoder: Decoder
    latent_channels: int
    latent_scale: float = 1.0
    latent_shift: float = 0.0
    variational: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.quantizer: Any = None

    @property
    def downsample_factor(self) -> int:
        return self.encoder.downsample_factor

    def check_scale_factors(self) -> None:
        """Raise if the decoder does not give images of the encoder's size; for constructors."""
        if self.decoder.upsample_factor != self.downsample_factor:
            raise UserError(
                f'{type(self).__name__}: the encoder divides the side by {self.downsample_factor}, the decoder multiplies '
                f'it by {self.decoder.upsample_factor}; give both the same number of levels.'
            )

    def features(self, images_BCHW: Tensor) -> Tensor:
        """What the encoder makes of checked images."""
        check_images(type(self).__name__, images_BCHW, self.encoder.in_channels, self._device)
        positions, kind = self.encoder.positions(*images_BCHW.shape[-2:]), self.encoder.kind
        if not isinstance(positions, kind):
            name, given = type(self.encoder).__name__, type(positions).__name__
            raise UserError(
                f'{name}: its `kind` is {kind.__name__}, but positions() returned a {given}; set `kind = {given}`.'
            )
        return self.encoder(images_BCHW.to(self._dtype))

    def checked_latent(self, z_BDHW: Tensor) -> Tensor:
        """A latent in the type that the decoder computes in; raises if it is of another shape or not of floats."""
        D, grid = self.latent_channels, self.encoder.kind is Grid
        tensor = isinstance(z_BDHW, Tensor)
        if not tensor or z_BDHW.dim() != (4 if grid else 3) or z_BDHW.shape[1] != D or not z_BDHW.is_floating_point():
            given = f'{z_BDHW.dtype} {tuple(z_BDHW.shape)}' if tensor else type(z_BDHW).__name__
            shape = f'(B, {D}, H, W)' if grid else f'(B, {D}, L)'
            raise UserError(
                f'{type(self).__name__}: expected a float latent {shape}, got {given}; codes are decoded by decode().'
            )
        return z_BDHW.to(self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        """What encoder and decoder compute in; a quantizer stays float32."""
        return next((parameter.dtype for parameter in self.decoder.parameters()), torch.float32)

    @property
    def _device(self) -> torch.device:
        return next((parameter.device for parameter in self.decoder.parameters()), torch.device('cpu'))

    @property
    def takes_labels(self) -> bool:
        """Whether training calls `forward(images_BCHW, labels_B)`, with the class of each image."""
        return False

    def check_labels(self, labels_B: Tensor | None) -> None:
        """Raise if there are labels, but nothing takes them."""
        if labels_B is not None and not self.takes_labels:
            raise UserError(f'{type(self).__name__} takes no labels; drop labels_B.')

    def require_quantizer(self, owner: str) -> Quantizer:
        """The quantizer; raises on behalf of `owner`, who needs it, if this autoencoder is continuous."""
        if self.quantizer is None:
            raise UserError(f'{owner}: needs the codes of a tokenizer, {type(self).__name__} has none; drop it.')
        return self.quantizer

    def layout(self, height: int, width: int) -> CodeLayout | LatentLayout:
        """How the codes or the latent of an image of this size, in pixels, are arranged; raises if it cannot be encoded."""
        return self.latent_layout(height, width)

    def latent_layout(self, height: int, width: int) -> LatentLayout:
        """How the latent of such an image is arranged, of a tokenizer before it is quantized."""
        positions = self.encoder.positions(height, width)
        return LatentLayout(positions, self.latent_channels, self.latent_scale, self.latent_shift)

    def check_layout(self, layout: CodeLayout | LatentLayout) -> None:
        """Raise if codes or latents of this layout cannot be this autoencoder's."""
        if not isinstance(layout, LatentLayout):
            raise UserError(f'{type(self).__name__} has continuous latents, not {layout}.')
        self.encoder.check_positions(layout.positions)
        own = LatentLayout(layout.positions, self.latent_channels, self.latent_scale, self.latent_shift)
        if layout != own:
            raise UserError(f'{type(self).__name__} has latents of {own}, not of {layout}.')

    def encode_latent(self, images_BCHW: Tensor) -> Tensor:
        """Float images (B, C, H, W) in [-1, 1] to the latent (B, D, H/f, W/f) or (B, D, L), before quantization."""
        raise NotImplementedError

    def posterior(self, images_BCHW: Tensor) -> DiagonalGaussian:
        """The distribution of each image's latent; `encode_latent` is its mean. Only if `variational`."""
        raise UserError(f'{type(self).__name__} has no posterior: an image has one latent; use encode().')

    def decode_latent(self, z_BDHW: Tensor) -> Tensor:
        """A latent, quantized if there is a quantizer, to images, nominally in [-1, 1], not clamped."""
        raise NotImplementedError

    def encode(self, images_BCHW: Tensor) -> Any:
        """Images to `Latents`; a `Tokenizer` gives `Codes`.

        Raises:
            UserError: Something else than float images in [-1, 1] of a size that can be encoded.
            NonFiniteError: Pixels (looked at on a CPU) or latents that are NaN or infinite.
        """
        return self._latents(images_BCHW, self.encode_latent(images_BCHW))

    def latents(self, images_BCHW: Tensor) -> Latents:
        """What a generator of latents learns of images: a draw if `variational`; of a tokenizer what it would quantize."""
        z_BDHW = self.posterior(images_BCHW).sample() if self.variational else self.encode_latent(images_BCHW)
        return self._latents(images_BCHW, z_BDHW)

    def _latents(self, images_BCHW: Tensor, z_BDHW: Tensor) -> Latents:
        self.check_finite(z_BDHW)
        return Latents(z_BDHW, self.latent_layout(*images_BCHW.shape[-2:]))

    def check_finite(self, latents: Tensor) -> None:
        """Raise if latents, or the moments of a posterior, are NaN or infinite, unless looking at them would disturb."""
        if can_sync(latents):
            cause = 'the weights are broken, or overflow in this precision'
            check_finite_images(latents, f'{type(self).__name__}: the latents', len(latents), cause)

    def decode(self, encoded: Any) -> Tensor:
        """What `encode` gave to images, nominally in [-1, 1], not clamped."""
        if not isinstance(encoded, Latents):
            raise UserError(f'{type(self).__name__}: expected Latents, got {type(encoded).__name__}.')
        given = encoded.layout
        if given != LatentLayout(given.positions, self.latent_channels, self.latent_scale, self.latent_shift):
            raise UserError(
                f'{type(self).__name__}: expected latents of {self.latent_channels} channels with scale {self.latent_scale} '
                f'and shift {self.latent_shift}, got {given}; were they made by another autoencoder?'
            )
        return self.decode_latent(encoded.values)

    def forward(self, images_BCHW: Tensor, labels_B: Tensor | None = None) -> AutoencoderOutput:
        """Images to reconstructions; `labels_B` only if `takes_labels`."""
        self.check_labels(labels_B)
        z_BDHW = self.encode_latent(images_BCHW)
        return AutoencoderOutput(self.decode_latent(z_BDHW), latent_abs_max=self.largest(z_BDHW))

    def largest(self, z_BDHW: Tensor) -> Tensor | None:
        """The `latent_abs_max` of an output."""
        return z_BDHW.detach().abs().amax() if self.training and z_BDHW.numel() else None

    def fold(self, label: int | None = None) -> Self:
        """A copy for inference; a tokenizer folds its quantizer, for which `label` is."""
        if label is not None:
            raise UserError(f'{type(self).__name__} has no classes, so fold() takes no label, got {label}; drop it.')
        return copy.deepcopy(self).eval()

    def save_spec(self) -> SaveSpec:
        return SaveSpec(
            self.saved_kind,
            self.saved_kind.describe(self),
            self.state_dict(),
            card=lambda name: autoencoder_card(self, name),
            loaded_facts=self.loaded_facts,
        )

    @classmethod
    def from_folder(cls, folder: Path) -> Self:  # pyrefly: ignore[bad-override]
        autoencoder, config = load_folder(folder, cls.saved_kind)
        if not isinstance(autoencoder, cls):
            name = type(autoencoder).__name__
            raise UserError(f'{folder} holds a {name}, not a {cls.__name__}; load it with {name}.from_pretrained.')
        autoencoder.loaded_facts = cls.saved_kind.facts(config)
        return autoencoder
