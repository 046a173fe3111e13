"""ADM (Dhariwal and Nichol, 2021), 553.8 M parameters, for pixels of 256x256 and 1,000 classes. Needs the extra `diffusers`."""

from fvq_core.autoencoders import PixelAutoencoder
from fvq_generators import UNetDiffusion
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=UNetDiffusion,
        layout=dict(type='Grid', height=256, width=256, channels=3),
        num_classes=1000,
        unet='UNet2DModel',
        arguments=dict(
            block_out_channels=[256, 256, 512, 512, 1024, 1024],
            layers_per_block=2,
            down_block_types=['ResnetDownsampleBlock2D'] * 3 + ['AttnDownBlock2D'] * 3,
            up_block_types=['AttnUpBlock2D'] * 3 + ['ResnetUpsampleBlock2D'] * 3,
            downsample_type='resnet',
            upsample_type='resnet',
            resnet_time_scale_shift='scale_shift',
            attention_head_dim=64,
            attn_norm_num_groups=32,
        ),
        learned_variance=True,
        clip=True,
        checkpointing=True,
    ),
    tokenizer=dict(type=PixelAutoencoder),
)
