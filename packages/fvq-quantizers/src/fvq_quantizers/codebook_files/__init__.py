"""Codebooks made from the features of another network, such as VQGAN-LC's of CLIP."""
