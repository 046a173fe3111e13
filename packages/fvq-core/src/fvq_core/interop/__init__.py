"""Checkpoints of other projects: maps from their keys to ours, and configs read off their shapes."""
