"""Parts of the codebook search; the door is `fvq_core.ops.nearest_code`."""
