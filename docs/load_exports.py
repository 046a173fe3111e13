"""Loads what `fvq export` wrote, without FVQ: `python load_exports.py torch|onnx|diffusers FOLDER PHOTO OUT`.

It needs torch, numpy and pillow, and for its format onnxruntime (not torch then) or diffusers.
"""

import sys

import numpy as np
from PIL import Image


def load_torch(folder):
    """Two functions of torch tensors."""
    import torch

    encode, decode = (torch.export.load(f'{folder}/{name}.pt2').module() for name in ('encode', 'decode'))
    return (
        lambda images: encode(torch.from_numpy(images)).numpy(),
        lambda codes: decode(torch.from_numpy(codes)).detach().numpy(),
    )


def load_onnx(folder):
    """Two sessions; `providers` chooses the device."""
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(f'{folder}/{name}.onnx') for name in ('encode', 'decode')]
    encode, decode = (
        lambda given, each=each: each.run(None, {each.get_inputs()[0].name: given})[0] for each in sessions
    )
    return encode, decode


def load_diffusers(folder):
    """A `VQModel`; codes are int64 (B, h, w)."""
    import torch
    from diffusers import VQModel

    model = VQModel.from_pretrained(folder).eval()

    def encode(images):
        with torch.no_grad():
            latents = model.encode(torch.from_numpy(images)).latents
            return model.quantize(latents)[2][2].view(len(latents), *latents.shape[2:]).numpy()

    def decode(codes):
        shape = (*codes.shape, model.config.vq_embed_dim)
        with torch.no_grad():
            return model.decode(torch.from_numpy(codes), force_not_quantize=True, shape=shape).sample.numpy()

    return encode, decode


form, folder, photo, out = sys.argv[1:]
encode, decode = dict(torch=load_torch, onnx=load_onnx, diffusers=load_diffusers)[form](folder)
with Image.open(photo) as image:
    image = image.convert('RGB')
    image = image.crop((0, 0, image.width // 32 * 32, image.height // 32 * 32))  # sides that the factor divides
pixels = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1  # (1, 3, H, W) in [-1, 1]
codes = encode(np.ascontiguousarray(pixels))
print('codes', codes.shape, codes.dtype)
rebuilt = (decode(codes)[0].transpose(1, 2, 0) + 1) * 127.5
Image.fromarray(rebuilt.round().clip(0, 255).astype(np.uint8)).save(out)
