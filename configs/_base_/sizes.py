"""Codebook sizes of the mini benchmark: what `--size` of `tools/train.py` and `tools/benchmark.py` sets in a row's quantizer.

A row has only some of these arguments; see `fvq_core/config/sizes.py`. `levels` are FSQ's: 4,375 and 15,360 codes. `path` is
VQGAN-LC's codebook, made with `tools/make_codebook.py --codebook-size`. With 16,384 codes, 16 make a token of the bridge."""

sizes = dict(
    k1024=dict(),  # the rows as they are
    k4096=dict(
        codebook_size=4096,
        levels=(7, 5, 5, 5, 5),
        path='data/codebooks/mini_4096.safetensors',
    ),
    k16384=dict(
        codebook_size=16384,
        levels=(8, 8, 8, 6, 5),
        patch_size=16,
        path='data/codebooks/mini_16384.safetensors',
    ),
)
