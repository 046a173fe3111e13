"""The checkpoint layouts of other projects: pure maps from their keys to ours, and configs read off their shapes."""
