"""ImageNet at 256x256 for generators that learn from images: random crops of the resized short side, and mirror images.

32 images a device."""

from fvq_core.data import ADMRandomCrop, HorizontalFlip, ImageFolder

train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    pin_memory=True,
    dataset=dict(
        type=ImageFolder,
        root='data/imagenet/train',
        exif_orientation='ignore',
        decoder='auto',
        transforms=[
            dict(type=ADMRandomCrop, size=256, min_fraction=1.0, upsample=True),
            dict(type=HorizontalFlip, on_device=True),
        ],
    ),
)
