"""Losses between an image and its reconstruction."""

from .reconstruction import L1Loss, L2Loss

__all__ = ['L1Loss', 'L2Loss']
