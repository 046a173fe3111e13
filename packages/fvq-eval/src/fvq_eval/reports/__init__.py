"""Reports: what they are made of, how they are written, and the paper against what was measured."""
