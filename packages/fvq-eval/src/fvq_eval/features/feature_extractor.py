"""The contract of feature extractors: images in, named float32 vectors out, the same for any batch size."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.ops.finite import judge_evidence

from .each_image import each_image
from .exact_precision import exact_precision

GPU_CHUNK = 32  # images that go through the network together on a GPU, whatever the batch
NAME = re.compile(r'[\w.+-]+')  # no `/`, which stands between a preset and a number


class FeatureExtractor(nn.Module):
    """A frozen network whose features stand for images in Frechet distances and their kin.

    A subclass sets the attributes, implements `extract`, and calls `freeze` when its weights are in place. It is always in
    eval mode. Images go through it in chunks of one size, one by one on a CPU (see `each_image`) and `GPU_CHUNK` (the last
    chunk padded) elsewhere, so that neither the batch size of the caller nor the number of threads changes a bit of a feature.

    Attributes:
        name: What distances in these features are called after, such as `inception-2015`.
        sizes: Length of each vector: `pool` always; `spatial` and `logits` if the network has them.
        preprocessing: What happens to pixels before the first layer, in words; a part of `fingerprint`.
        provenance: Its weights, in words; it is part of every number's protocol.
        logit_bias_C: What `logits` lack to be those of the classifier, (C,); None if they lack nothing.
    """

    name: str
    sizes: dict[str, int]
    preprocessing: str
    provenance: str
    logit_bias_C: Tensor | None = None

    def extract(self, pixels_BCHW: Tensor) -> dict[str, Tensor]:
        """Features of float32 pixels in [0, 255], (B, size) each; called in eval mode, without gradient, in float32."""
        raise NotImplementedError

    def freeze(self) -> None:
        """No gradient, eval mode for good."""
        if not NAME.fullmatch(self.name):
            raise UserError(
                f"{type(self).__name__}: expected a name of letters, digits and . _ + -, got '{self.name}'; name it otherwise."
            )
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FeatureExtractor:
        """It stays in eval mode."""
        return super().train(False)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of name, preprocessing and weights: equal for extractors whose features can be compared."""
        digest = hashlib.sha256(f'{self.name}\n{self.preprocessing}\n{sorted(self.sizes.items())}\n'.encode())
        for key, tensor in sorted(self.state_dict().items()):
            digest.update(f'{key} {tuple(tensor.shape)} {tensor.dtype}\n'.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def forward(self, pixels_BCHW: Tensor) -> dict[str, Tensor]:
        """Features by name, (B, size) float32.

        Args:
            pixels_BCHW: uint8, or float32 in [0, 255] if a protocol does not round; on the network's device.

        Raises:
            UserError: No RGB images of these types, or features that are not finite.
        """
        check_pixels(self.name, pixels_BCHW)
        device = pixels_BCHW.device
        with exact_precision(device.type):
            if device.type == 'cpu':
                chunks = each_image(self.extract_padded, pixels_BCHW)
            else:
                chunks = [self.extract_padded(chunk, GPU_CHUNK) for chunk in pixels_BCHW.split(GPU_CHUNK)]
        features = {name: torch.cat([chunk[name] for chunk in chunks]) for name in self.sizes} if chunks else {}
        for name, length in self.sizes.items():
            features.setdefault(name, torch.empty(0, length, device=device))
            self.check_features(name, features[name])
        return features

    def check_features(self, name: str, values_BD: Tensor) -> None:
        """Raise if features are not finite; see `deferred_checks`."""

        def judge(finite: Tensor) -> None:
            if not finite:
                raise UserError(f'{self.name}: {name} features are not finite; the images or the weights are broken.')

        judge_evidence(values_BD.isfinite().all(), judge)

    def extract_padded(self, pixels_BCHW: Tensor, size: int = 1) -> dict[str, Tensor]:
        """`extract` on exactly `size` images, of which those at the end may be black and are dropped again."""
        B, pixels_BCHW = len(pixels_BCHW), pixels_BCHW.to(torch.float32)
        if size > B:
            pixels_BCHW = torch.cat([pixels_BCHW, pixels_BCHW.new_zeros(size - B, *pixels_BCHW.shape[1:])])
        features = self.extract(pixels_BCHW)
        got = {name: tuple(value.shape[1:]) for name, value in features.items()}
        wanted = {name: (length,) for name, length in self.sizes.items()}
        assert got == wanted, f'{self.name}: expected features {wanted}, got {got}'
        return {name: value[:B].float() for name, value in features.items()}


def check_pixels(name: str, pixels_BCHW: Tensor) -> None:
    """Raise if pixels are not a batch of RGB images in [0, 255]; of floats see `deferred_checks`."""
    if pixels_BCHW.ndim != 4 or pixels_BCHW.shape[1] != 3:
        raise UserError(f'{name}: expected RGB images (B, 3, H, W), got {tuple(pixels_BCHW.shape)}.')
    if pixels_BCHW.dtype not in (torch.uint8, torch.float32):
        raise UserError(f'{name}: expected uint8 or float32 pixels in [0, 255], got {pixels_BCHW.dtype}; convert them.')

    def judge(range_2: Tensor) -> None:
        low, high = range_2
        if not (low >= 0 and high <= 255):  # false for NaN too
            raise UserError(
                f'{name}: expected float32 pixels in [0, 255], got values from {low:.4g} to {high:.4g}; images in '
                '[-1, 1] become pixels by a preset.'
            )

    if pixels_BCHW.dtype == torch.float32 and pixels_BCHW.numel():
        judge_evidence(torch.stack(pixels_BCHW.aminmax()), judge)
