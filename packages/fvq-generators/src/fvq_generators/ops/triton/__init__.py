"""The kernels. Importing them needs Triton, so operators do it when they launch."""
