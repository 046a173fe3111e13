"""Figures of studies: curves over runs, codebook sizes, codes on a plane."""
