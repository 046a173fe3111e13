"""What there is to choose in PSNR, SSIM and LPIPS; scripts differ in each of these, and the numbers with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from fvq_core.errors import UserError, nearest_hint

from .rounding import IN_WORDS, Rounding, check_rounding

Conventions = TypeVar('Conventions')


def make_conventions(kind: type[Conventions], value: Conventions | Mapping[str, Any] | None) -> Conventions:
    """Conventions from a config's mapping; without one the defaults, which are those of `strict`."""
    if not isinstance(value, Mapping):
        return kind() if value is None else value
    valid = [field.name for field in fields(kind)]  # pyrefly: ignore[bad-argument-type]
    for key in value:
        if key not in valid:
            raise UserError(f"{kind.__name__}: unknown argument '{key}'; {nearest_hint(str(key), valid)}")
    return kind(**value)


@dataclass(frozen=True)
class PSNRConventions:
    """Peak signal-to-noise ratio, 10 log10(1 / mean squared error) with pixels in [0, 1], of each image.

    Attributes:
        color: `'rgb'`, all three channels together; `'luma'`, Y of BT.601 in studio range: (65.481 R + 128.553 G +
            24.966 B + 16) / 255, not rounded, as pyiqa has it. Y spans 219 of 255 levels and averages noise out, so the
            same pictures score higher.
        epsilon: Added to the mean squared error; 0 caps at 100 dB instead, so that a copy does not make the mean infinite.
        rounding: See `to_pixels`.
    """

    color: Literal['rgb', 'luma'] = 'rgb'
    epsilon: float = 0.0
    rounding: Rounding = 'round'

    def __post_init__(self) -> None:
        if self.color not in ('rgb', 'luma'):
            raise UserError(f"PSNR: color must be 'rgb' or 'luma', got '{self.color}'.")
        check_rounding('PSNR', self.rounding)

    def __str__(self) -> str:
        color = 'RGB' if self.color == 'rgb' else 'only Y of BT.601 (16 to 235)'
        epsilon = f', {self.epsilon:g} added to the error' if self.epsilon else ''
        return f'{color}, {IN_WORDS[self.rounding]}, mean over images of the PSNR of each{epsilon}'


@dataclass(frozen=True)
class SSIMConventions:
    """Structural similarity (Wang et al., 2004), of R, G and B apart, then the mean.

    Attributes:
        window: `'gaussian'`, 11 pixels of sigma 1.5; `'uniform'`, 7 pixels, scikit-image's default.
        sample_covariance: Variances over n - 1 of the window's n pixels, scikit-image's default, not over n.
        data_range: The range that the stabilising constants assume, in multiples of the true one. 2, for images in [0, 1]
            whose range is called 2, makes the constants four times as large and the score higher.
        downsample: Average and thin out by round(short side / 256) first, as piq does; nothing at 256 pixels.
        rounding: See `to_pixels`.
    """

    window: Literal['gaussian', 'uniform'] = 'gaussian'
    sample_covariance: bool = False
    data_range: float = 1.0
    downsample: bool = False
    rounding: Rounding = 'round'

    def __post_init__(self) -> None:
        if self.window not in ('gaussian', 'uniform'):
            raise UserError(f"SSIM: window must be 'gaussian' or 'uniform', got '{self.window}'.")
        if self.data_range <= 0:
            raise UserError(f'SSIM: data_range must be above 0, got {self.data_range}.')
        check_rounding('SSIM', self.rounding)

    @property
    def window_size(self) -> int:
        """Pixels."""
        return 11 if self.window == 'gaussian' else 7

    def __str__(self) -> str:
        window = '11-pixel Gaussian window' if self.window == 'gaussian' else '7-pixel uniform window'
        covariance = ', sample covariance' if self.sample_covariance else ''
        range_ = 'range 255' if self.data_range == 1 else f'data range {self.data_range:g} for images in [0, 1]'
        downsample = ', thinned out by round(side / 256)' if self.downsample else ''
        return f'RGB {IN_WORDS[self.rounding]}, {window}{covariance}, {range_}{downsample}, mean over images'


@dataclass(frozen=True)
class LPIPSConventions:
    """LPIPS 0.1 (Zhang et al., 2018).

    Attributes:
        net: `'alex'`, `'vgg'` or `'squeeze'`.
        rounding: See `to_pixels`.
        low: What black is given to the network as; right is -1.
        high: What white is given as; right is 1. Scripts have taken 0 to 1 (forgot to normalise) and -3 to 1 (twice).
    """

    net: Literal['alex', 'vgg', 'squeeze'] = 'alex'
    rounding: Rounding = 'round'
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.net not in ('alex', 'vgg', 'squeeze'):
            raise UserError(f"LPIPS: no network '{self.net}'; {nearest_hint(self.net, ('alex', 'vgg', 'squeeze'))}")
        if self.low >= self.high:
            raise UserError(f'LPIPS: low must be below high, got {self.low} and {self.high}.')
        check_rounding('LPIPS', self.rounding)

    def __str__(self) -> str:
        right = (self.low, self.high) == (-1, 1)
        range_ = '' if right else f', given to the network in [{self.low:g}, {self.high:g}] instead of [-1, 1]'
        return f'{self.net}, RGB {IN_WORDS[self.rounding]}{range_}, mean over images'
