"""From a case's peer object, constructor and mode to the numbers our code computes for it.

An adapter is chosen by what the json says, never by the case's name, so that new sizes, seeds and options of a known
object work unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

from ..case import Case
from . import (
    adversarial,
    autoregressive,
    crops,
    cvq,
    diffusion,
    generators,
    kl,
    ldm,
    lookup_free,
    mar,
    maskgit,
    maskgit_vq,
    movq,
    multi_scale,
    next_scale,
    optvq,
    perceptual,
    projectors,
    quantizers,
    rcg,
    residual,
    rq_transformer,
    sampling,
    schedules,
    titok,
    tokenizers,
    unitok,
    vit_vqgan,
    vqgan_family,
    xqgan,
)

Adapter = Callable[[Case], dict[str, Tensor]]

# (repository, the first word of the object's name, or its start where it ends in an underscore) -> adapter
ADAPTERS: dict[tuple[str, str], Adapter] = {
    ('Alpha-VLLM/LLaMA2-Accessory', 'DiT_Llama'): diffusion.large_dit,
    ('LTH14/mar', 'MAR'): mar.mar,
    ('LTH14/mar', 'MAR.sample_tokens'): mar.mar,
    ('LTH14/rcg', 'MaskedGenerativeEncoderViT'): rcg.rcg,
    ('LTH14/rcg', 'RDM'): rcg.rcg,
    ('facebookresearch/DiT', 'DiT'): diffusion.dit,
    ('facebookresearch/DiT', 'DiT.forward_with_cfg,'): diffusion.dit,
    **{
        (repo, name): adapter
        for repo in ('FoundationVision/LlamaGen', 'yfChang-cv/FVQ')
        for name, adapter in (
            ('NLayerDiscriminator', adversarial.patchgan),
            ('Discriminator', adversarial.stylegan),
            ('DiscriminatorBlock', adversarial.stylegan_block),
            ('hinge_', adversarial.gan_losses),
            ('vanilla_', adversarial.gan_losses),
            ('non_saturating_', adversarial.gan_losses),
            ('adopt_weight', adversarial.gan_losses),
            ('VQLoss', adversarial.vq_loss),
        )
    },
    ('FoundationVision/LlamaGen', 'center_crop_arr'): crops.adm_crops,
    ('FoundationVision/LlamaGen', 'LPIPS'): perceptual.llamagen,
    ('FoundationVision/LlamaGen', 'VectorQuantizer'): quantizers.llamagen,
    ('FoundationVision/LlamaGen', 'VQModel'): tokenizers.llamagen,
    ('FoundationVision/LlamaGen', 'top_k_top_p_filtering'): sampling.llamagen,
    ('FoundationVision/LlamaGen', 'Transformer'): generators.llamagen,
    ('yfChang-cv/FVQ', 'Transformer'): generators.llamagen,
    ('FoundationVision/VAR', 'sample_with_top_k_top_p_'): generators.var_filter,
    ('FoundationVision/VAR', 'VAR'): next_scale.var,
    ('yfChang-cv/FVQ', 'LPIPS'): perceptual.llamagen,
    ('yfChang-cv/FVQ', 'combined_lr_lambda'): schedules.fvq_release,
    ('yfChang-cv/FVQ', 'QBridge_models'): projectors.fvq_release,
    ('yfChang-cv/FVQ', 'VQBridge'): projectors.fvq_release,
    ('yfChang-cv/FVQ', 'DiT'): projectors.fvq_release,
    ('yfChang-cv/FVQ', 'VQModel'): tokenizers.fvq_release,
    ('yfChang-cv/FVQ', 'steps of __main__'): tokenizers.fvq_folded,
    ('yfChang-cv/FVQ', 'VectorQuantizer2'): multi_scale.fvq_quantizer,
    ('yfChang-cv/FVQ', 'VQVAE'): multi_scale.fvq_tokenizer,
    ('FoundationVision/VAR', 'VectorQuantizer2'): multi_scale.var_quantizer,
    ('FoundationVision/VAR', 'VQVAE'): multi_scale.var_tokenizer,
    ('TencentARC/SEED-Voken', 'IndexPropagationQuantize'): quantizers.ibq,
    ('TencentARC/SEED-Voken', 'GPT'): autoregressive.ibq,
    ('TencentARC/SEED-Voken', 'Net2NetTransformer'): schedules.ibq_release,
    ('thuanz123/enhancing-transformers', 'GPT'): autoregressive.vitvq,
    ('ziqipang/RandAR', 'RandARTransformer'): autoregressive.randar,
    ('ziqipang/RandAR', 'calculate_num_query_tokens_for_parallel_decoding'): autoregressive.randar_steps,
    ('bytedance/1d-tokenizer', 'RAR'): autoregressive.rar,
    ('TencentARC/SEED-Voken', 'IBQ'): vqgan_family.ibq_model,
    ('TencentARC/SEED-Voken', 'VQModel'): vqgan_family.magvit2_model,
    ('zbr17/OptVQ', 'VQModel'): optvq.optvq_model,
    ('zbr17/OptVQ', 'VectorQuantizerSinkhorn'): optvq.optvq_quantizer,
    ('CompVis/latent-diffusion', 'LatentDiffusion'): ldm.latent_diffusion,
    ('CompVis/latent-diffusion', 'AutoencoderKL'): kl.latent_diffusion,
    ('CompVis/latent-diffusion', 'LPIPSWithDiscriminator'): kl.loss,
    ('LTH14/mar', 'AutoencoderKL'): kl.mar,
    ('huggingface/diffusers', 'AutoencoderKL'): kl.diffusers,
    ('CompVis/taming-transformers', 'GPT'): autoregressive.min_gpt,
    ('CompVis/taming-transformers', 'EMAVectorQuantizer'): quantizers.taming_ema,
    ('CompVis/taming-transformers', 'VectorQuantizer2'): quantizers.taming,
    ('CompVis/taming-transformers', 'GumbelQuantize'): quantizers.taming_gumbel,
    ('google-research/maskgit', 'VQVAE'): maskgit_vq.original,
    ('google-research/maskgit', 'Transformer'): maskgit.original,
    ('bytedance/1d-tokenizer', 'ImageBert'): maskgit.titok,
    ('bytedance/1d-tokenizer', 'UViTBert'): maskgit.titok,
    ('valeoai/Halton-MaskGIT', 'Transformer'): maskgit.halton,
    ('ai-forever/MoVQGAN', 'MOVQ'): movq.movqgan,
    ('huggingface/diffusers', 'VQModel'): movq.diffusers,
    ('FoundationVision/UniTok', 'VectorQuantizerM'): unitok.quantizer,
    ('FoundationVision/UniTok', 'VQVAE'): unitok.vqvae,
    ('FoundationVision/UniTok', 'UniTok'): unitok.model,
    ('thuanz123/enhancing-transformers', 'ViTVQ'): vit_vqgan.vit_vqgan,
    ('bytedance/1d-tokenizer', 'PretrainedTokenizer'): maskgit_vq.port,
    ('bytedance/1d-tokenizer', 'VectorQuantizer'): quantizers.titok,
    ('bytedance/1d-tokenizer', 'TiTok'): titok.model,
    ('bytedance/1d-tokenizer', 'ReconstructionLoss_Stage2'): titok.stage2_loss,
    ('bytedance/1d-tokenizer', 'TATiTok'): titok.model,
    ('lxa9867/ImageFolder', 'VQModel'): xqgan.model,
    ('lxa9867/ImageFolder', 'VectorQuantizer'): quantizers.xqgan,
    ('lxa9867/ImageFolder', 'VectorQuantizer2'): multi_scale.xqgan_quantizer,
    ('lyndonzheng/CVQ-VAE', 'VectorQuantiser'): cvq.cvq,
    ('youngsheen/SimVQ', 'SimVQ'): quantizers.simvq,
    ('zh460045050/VQGAN-LC', 'VQModel.quantize'): quantizers.vqgan_lc,
    ('kakaobrain/rq-vae-transformer', 'RQBottleneck'): residual.rq_bottleneck,
    ('kakaobrain/rq-vae-transformer', 'RQTransformer'): rq_transformer.rq_transformer,
    ('TencentARC/SEED-Voken', 'LFQ'): lookup_free.magvit2_lfq,
    ('lucidrains/vector-quantize-pytorch', 'LFQ'): lookup_free.lucidrains_lfq,
    ('lucidrains/vector-quantize-pytorch', 'FSQ'): lookup_free.lucidrains_fsq,
}


def find_adapter(case: Case) -> Adapter | None:
    """The adapter with the longest matching object name."""
    peer = case.description['peer']
    fitting = [
        (len(name), adapter)
        for (repo, name), adapter in ADAPTERS.items()
        if repo == peer['repo']
        and re.match(re.escape(name) + ('' if name.endswith('_') else r'(?!\w)'), peer['object'])
    ]
    return max(fitting, key=lambda entry: entry[0])[1] if fitting else None
