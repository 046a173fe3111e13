"""Streaming metrics of tokenizers."""

from .codebook_usage import CodebookUsage
from .psnr import PSNR
from .quantization_error import QuantizationError
from .ssim import SSIM

__all__ = ['PSNR', 'SSIM', 'CodebookUsage', 'QuantizationError']
