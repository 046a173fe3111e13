"""CDM (Ho et al., 2022) of 256x256 pixels and 1,000 classes: a U-Net of 32x32 pixels, and two that enlarge to 64 and 256.

The sizes are ours, in ADM's blocks: nothing of CDM was released to check them with. Needs the extra `diffusers`."""

from fvq_core.autoencoders import PixelAutoencoder
from fvq_generators import Cascade
from fvq_generators.tasks import GeneratorTask

blocks = dict(
    downsample_type='resnet',
    upsample_type='resnet',
    resnet_time_scale_shift='scale_shift',
    attention_head_dim=64,
    attn_norm_num_groups=32,
)
model = dict(
    type=GeneratorTask,
    generator=dict(
        type=Cascade,
        layout=dict(type='Grid', height=256, width=256, channels=3),
        num_classes=1000,
        stages=[
            dict(
                factor=8,
                arguments=dict(
                    blocks,
                    block_out_channels=[256, 512, 768, 1024],
                    layers_per_block=3,
                    down_block_types=['ResnetDownsampleBlock2D']
                    + ['AttnDownBlock2D'] * 2
                    + ['ResnetDownsampleBlock2D'],
                    up_block_types=['ResnetUpsampleBlock2D'] + ['AttnUpBlock2D'] * 2 + ['ResnetUpsampleBlock2D'],
                    dropout=0.1,
                ),
                schedule='cosine',
                learned_variance=True,
                clip=True,
            ),
            dict(
                factor=4,
                augmentation='noise',
                arguments=dict(
                    blocks,
                    block_out_channels=[256, 512, 768, 1024],
                    layers_per_block=3,
                    down_block_types=['ResnetDownsampleBlock2D'] * 2 + ['AttnDownBlock2D'] * 2,
                    up_block_types=['AttnUpBlock2D'] * 2 + ['ResnetUpsampleBlock2D'] * 2,
                    dropout=0.1,
                ),
                schedule='cosine',
                learned_variance=True,
                clip=True,
            ),
            dict(
                factor=1,
                augmentation='blur',
                arguments=dict(
                    blocks,
                    block_out_channels=[128, 256, 512, 512, 1024],
                    layers_per_block=2,
                    down_block_types=['ResnetDownsampleBlock2D'] * 4 + ['AttnDownBlock2D'],
                    up_block_types=['AttnUpBlock2D'] + ['ResnetUpsampleBlock2D'] * 4,
                ),
                learned_variance=True,
                clip=True,
                checkpointing=True,
            ),
        ],
    ),
    tokenizer=dict(type=PixelAutoencoder),
)
