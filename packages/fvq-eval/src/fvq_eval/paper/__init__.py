"""The tables of the paper, and the configs that stand for their rows."""
