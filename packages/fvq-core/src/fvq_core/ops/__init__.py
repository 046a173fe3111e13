"""Operators on tensors, devices and ranks."""
