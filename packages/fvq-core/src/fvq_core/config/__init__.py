"""Configs: found, read, overridden from the command line, checked, kept as data, compared."""
