"""Generators: models of codes."""

__version__ = '0.1.0'
