"""Hooks that measure what the studies need while a run trains."""

from .gradient_probe_hook import GradientProbeHook
from .latent_error_hook import LatentErrorHook
from .per_image_hook import PerImageHook

__all__ = ['GradientProbeHook', 'LatentErrorHook', 'PerImageHook']
