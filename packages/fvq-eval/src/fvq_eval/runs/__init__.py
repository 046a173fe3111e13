"""Runs and scored image sets as they lie on the disk: found once, read once."""
