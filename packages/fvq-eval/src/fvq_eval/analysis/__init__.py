"""What the paper says of vector quantization, measured: `tools/analyze.py` and `GradientProbeHook` are built on it."""
