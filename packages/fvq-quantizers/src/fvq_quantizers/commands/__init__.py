"""Commands: making codebooks."""
