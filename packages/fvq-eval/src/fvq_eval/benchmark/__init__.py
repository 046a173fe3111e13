"""Methods compared under the same encoder, decoder, data, losses and steps; `tools/benchmark.py` is the command."""
