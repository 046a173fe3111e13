"""ImageNet as latents of Stable Diffusion's autoencoder: mean and variance of each centre crop and of its mirror image.

Extract them first: `tools/extract_codes.py TOKENIZER data/imagenet/train data/latents/imagenet_NAME --upsample
--exif-orientation ignore`. The batch is 256: 8 devices with 32 images each."""

from fvq_generators.data import CodesDataset

train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    pin_memory=True,
    dataset=dict(type=CodesDataset, root='data/latents/imagenet_vae_sd_f8'),
)
