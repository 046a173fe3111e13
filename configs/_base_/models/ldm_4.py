"""LDM-4 of ImageNet's classes (Rombach et al., 2022): 400.9 M parameters and 0.5 M of classes, for latents of 64x64x3.

The class is one token that the U-Net attends to. Needs the extra `diffusers`."""

from fvq_generators import UNetDiffusion
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=UNetDiffusion,
        layout=dict(type='Grid', height=64, width=64, channels=3),
        num_classes=1000,
        unet='UNet2DConditionModel',
        arguments=dict(
            block_out_channels=[192, 384, 576, 960],
            layers_per_block=2,
            down_block_types=['DownBlock2D'] + ['CrossAttnDownBlock2D'] * 3,
            up_block_types=['CrossAttnUpBlock2D'] * 3 + ['UpBlock2D'],
            attention_head_dim=1,  # how many heads there are in this class of diffusers, whatever its name says
            cross_attention_dim=512,
        ),
        cond_dropout=0.1,
        schedule='sqrt_linear',
    ),
)
