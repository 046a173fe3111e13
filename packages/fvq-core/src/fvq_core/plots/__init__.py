"""Plots and pictures of runs."""
