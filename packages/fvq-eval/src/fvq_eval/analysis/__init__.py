"""What the paper says about vector quantization, measured: `tools/analyze.py` and `GradientProbeHook` are built on it."""
