"""Runs that prove that a config works, before a long one is paid for: a smoke run, and a rehearsal on many ranks."""
