"""RCG-L on codes of MaskGIT's tokenizer and representations of MoCo v3 (ViT-L). 32 devices with 128 images each.

Ours are MAGE (407 M parameters) and the class-conditional representation diffusion (73 M); table 11's 502M count the unconditional
one (63 M) and the tokenizer's decoder (31 M). The table's IS of 215.5 is that of the class-conditional run without guidance, whose
FID was 2.99 against ADM's statistics; 3.49 fits an earlier reference. Both stores have the same crops, one an image here
(the release's is the centre of a shorter side of 292):

tools/extract_codes.py maskgit_1k data/imagenet/train data/codes/imagenet_maskgit_1k --crops center --upsample
tools/extract_representations.py moco_v3_vit_large data/imagenet/train data/representations/imagenet_moco_v3_vit_l \\
    --weights vitl.pth.tar --crops center --upsample"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.rcg import *
    from .._base_.schedules.rcg_200e import *

from fvq_generators.data import RepresentedCodes

train_dataloader.update(
    batch_size=128,
    dataset=dict(
        type=RepresentedCodes,
        root='data/codes/imagenet_maskgit_1k',
        representations='data/representations/imagenet_moco_v3_vit_l',
    ),
)
paper = dict(rows=['t11.12'], tokenizer='configs/baselines/maskgit_1k.py', fid=3.49, inception_score=215.5)
