"""Hooks of studies and reports: what is measured while a run trains, and what a finished one leaves behind."""

from .curves_hook import CurvesHook
from .gradient_probe_hook import GradientProbeHook
from .latent_error_hook import LatentErrorHook
from .per_image_hook import PerImageHook
from .report_hook import ReportHook
from .signal_once_hook import SignalOnceHook

__all__ = ['CurvesHook', 'GradientProbeHook', 'LatentErrorHook', 'PerImageHook', 'ReportHook', 'SignalOnceHook']
