"""The commands of this package; see `fvq_core.commands`."""
