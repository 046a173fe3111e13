"""Checkpoints of other projects: what an importer gives, rules that rename keys, and the conversion to a folder of ours."""
