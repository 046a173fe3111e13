"""Operators of decoding with a cache, where each step reads every weight for a few rows: kernels, and plain torch beside them.

Weights are read once, in few and large kernels: a norm is part of the projection behind it, so are the gate, the residual sum,
the rotation with the writing of the cache, and guidance. None depends on a model: whatever decodes with a cache can use them.

An output is the same whatever else is in its batch: it is summed over blocks whose sizes and order do not depend on the number
of rows, by the same matrix instruction. That the compiled kernels hold to it is tested for sm_80 and sm_90.
"""
