"""Triton kernels, imported when one is launched. Plain formulations stand beside the operators that launch them."""
