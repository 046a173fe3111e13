"""Metrics and protocols. Importing the package registers every metric."""

from . import metrics

__version__ = '0.1.0'
__all__ = ['metrics']
