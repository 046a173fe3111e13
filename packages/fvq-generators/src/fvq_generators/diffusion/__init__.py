"""Diffusion: noise schedules, the Gaussian process that DiT, MAR and RCG share, its samplers, and flow matching."""
