"""Tokenizers under protocol presets: one pass over image files."""

from .evaluator import PresetEvaluator

__all__ = ['PresetEvaluator']
