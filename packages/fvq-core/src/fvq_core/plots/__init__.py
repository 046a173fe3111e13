"""Pictures of runs, for people who would rather look than read."""
