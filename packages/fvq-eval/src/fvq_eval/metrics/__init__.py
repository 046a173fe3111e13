"""Streaming metrics of tokenizers."""

from .code_bits import CodeBits
from .codebook_usage import CodebookUsage
from .ms_ssim import MSSSIM
from .perceptual_distance import PerceptualDistance
from .projector_cost import ProjectorCost
from .psnr import PSNR
from .quantization_error import QuantizationError
from .relative_error import RelativeError
from .ssim import SSIM

__all__ = [
    'MSSSIM',
    'PSNR',
    'SSIM',
    'CodeBits',
    'CodebookUsage',
    'PerceptualDistance',
    'ProjectorCost',
    'QuantizationError',
    'RelativeError',
]
