"""Runs and scored image sets as stored on the disk: found once, read once."""
