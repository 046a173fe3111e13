"""LlamaGen's discriminators, which FVQ's release shares; the PatchGAN has our keys."""

from __future__ import annotations

from fvq_core.interop.key_map import Rules

BLOCK_RULES: Rules = (
    (r'conv_res\.(.*)', r'shortcut.\1'),
    (r'net\.0\.(.*)', r'conv1.\1'),
    (r'net\.2\.(.*)', r'conv2.\1'),
    (r'(downsample\.1\..*)', r'\1'),
)
# The peer's `blocks` begin with the convolution on the image and its activation.
STYLEGAN_RULES: Rules = (
    (r'blocks\.0\.(.*)', r'conv_in.\1'),
    *(
        (rf'blocks\.{index + 2}\.{pattern}', f'blocks.{index}.{ours}')
        for index in range(16)
        for pattern, ours in BLOCK_RULES
    ),
    (r'final_conv\.0\.(.*)', r'conv_out.\1'),
    (r'final_linear\.0\.(.*)', r'hidden.\1'),
    (r'final_linear\.2\.(.*)', r'logit.\1'),
)
PATCHGAN_RULES: Rules = ((r'(main\..*)', r'\1'),)
# The blur's filter, a constant.
NOT_WEIGHTS = (r'(?:.*\.)?downsample\.0\.f',)
