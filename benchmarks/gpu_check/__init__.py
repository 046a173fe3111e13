"""What only a GPU can say, in named sections of known cost: `make gpu-check`, see docs/gpu.md."""
