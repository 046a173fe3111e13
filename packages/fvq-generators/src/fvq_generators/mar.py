"""MAR (Li et al., 2024, "Autoregressive image generation without vector quantization"): masked autoregression with a
diffusion head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import Grid, LatentLayout, Latents, Targets
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes
from fvq_core.sampling_settings import setting

from .checks import check_rates, images_to_draw, latents_of, latents_to_learn
from .diffusion.head import DiffusionHead
from .eval_mode import eval_mode
from .given_latents import check_given_latents, kept_last, kept_patches, with_given
from .layers import ClassEmbedding, init_xavier
from .layers.pre_norm_block import PreNormBlock
from .masked.schedules import hidden_counts, hide, normal_share
from .orders import first_of
from .out_of_memory import memory_advice
from .patches import Patches
from .sampling import SCHEDULES, GuidanceSchedule
from .streams import Streams

MOST_STEPS, HEAD_STEPS = 256, 100  # of the published FIDs
DEVIATION = 0.25  # of the share of masked tokens, a normal around 1 that is cut off
# Positions (B, N) that an iteration draws -> noise (B, N, 1 + diffusion steps, C): first what they start from.
TokenNoise = Callable[[Tensor], Tensor]


@GENERATORS.register_module()
class MAR(Generator):
    """Encodes the tokens that are there, decodes what can be said of the others, and draws those by diffusion.

    The published sizes (encoder and decoder blocks x dim, heads; head): B 12 + 12 x 768, 12; 6 x 1024. L 16 + 16 x 1024,
    16; 8 x 1280. H 20 + 20 x 1280, 16; 12 x 1536.

    Args:
        layout: `LatentLayout` of a `Grid`, or its description.
        patch_size: Side of a token, in positions of the latent.
        dim: Channels D of the encoder.
        depth: Blocks of the encoder, and of the decoder.
        heads: Heads of the encoder's attention.
        decoder_dim, decoder_heads: Those of the decoder; by default the encoder's.
        head_depth, head_width: See `DiffusionHead`.
        head_draws: Its `draws`.
        class_tokens: Copies of the class before the tokens.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops, for classifier-free guidance.
        least_masked: Smallest share of the tokens that training masks.
        attention_dropout, dropout: See `PreNormBlock`.
        schedule, steps: The head's process, see `GaussianProcess`.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    position_kinds = (Grid,)
    inpaints = True
    layout: LatentLayout  # pyrefly: ignore[bad-override]

    @dataclass(frozen=True)
    class Sampling(GuidanceSchedule):
        """Guidance, by default rising with the share of the tokens that are drawn; passes, and steps of the head."""

        cfg_schedule: str = setting('linear', 'schedule of the guidance scale over the image', choices=SCHEDULES)
        steps: int = setting(0, f'decoding steps per image; 0: one per token, at most {MOST_STEPS}', least=1, also=(0,))
        diffusion_steps: int = setting(
            0,
            f'diffusion steps of the head per token; 0: {HEAD_STEPS}, or those of training if fewer',
            least=1,
            also=(0,),
        )
        temperature: float = setting(1.0, 'temperature of the noise in the diffusion steps', least=0)

    def __init__(
        self,
        layout: LatentLayout | Mapping[str, Any],
        patch_size: int = 1,
        dim: int = 1024,
        depth: int = 16,
        heads: int = 16,
        decoder_dim: int | None = None,
        decoder_heads: int | None = None,
        head_depth: int = 8,
        head_width: int = 1280,
        head_draws: int = 4,
        class_tokens: int = 64,
        num_classes: int = 1000,
        cond_dropout: float = 0.1,
        least_masked: float = 0.7,
        attention_dropout: float = 0.1,
        dropout: float = 0.1,
        schedule: str = 'cosine',
        steps: int = 1000,
    ) -> None:
        super().__init__()
        self.layout = latents_of(self, layout)
        check_sizes('MAR', dim=dim, depth=depth, heads=heads, class_tokens=class_tokens, num_classes=num_classes)
        check_rates('MAR', cond_dropout=cond_dropout, attention_dropout=attention_dropout, dropout=dropout)
        if not 0 < least_masked <= 1:
            raise UserError(f'MAR: least_masked lies above 0 and up to 1, got {least_masked}.')
        self.patching = Patches('MAR', self.layout, patch_size)
        self.class_tokens, self.least_masked = class_tokens, least_masked
        width, L, C = decoder_dim or dim, self.patching.length, self.patching.channels
        self.condition = ClassEmbedding(num_classes, dim, cond_dropout)
        self.input = nn.Linear(C, dim)
        self.input_norm = nn.LayerNorm(dim, 1e-6)
        self.encoder_positions = nn.Parameter(torch.empty(class_tokens + L, dim))
        self.encoder = nn.ModuleList(
            PreNormBlock(dim, heads, 4 * dim, attention_dropout, dropout) for _ in range(depth)
        )
        self.encoder_norm = nn.LayerNorm(dim, 1e-6)
        self.decoder_input = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.empty(width))
        self.decoder_positions = nn.Parameter(torch.empty(class_tokens + L, width))
        self.decoder = nn.ModuleList(
            PreNormBlock(width, decoder_heads or heads, 4 * width, attention_dropout, dropout) for _ in range(depth)
        )
        self.decoder_norm = nn.LayerNorm(width, 1e-6)
        self.output_positions = nn.Parameter(torch.empty(L, width))
        self.apply(init_xavier)
        tables = (self.encoder_positions, self.decoder_positions, self.output_positions, self.mask_token)
        for table in (*tables, self.condition.table.weight):
            nn.init.normal_(table, std=0.02)
        self.head = DiffusionHead(C, width, head_width, head_depth, schedule, steps, head_draws)
        self.blocks = (*self.encoder, *self.decoder)

    @property
    def num_classes(self) -> int:  # pyrefly: ignore[bad-override]
        return self.condition.num_classes

    def check_condition(self, cond: Tensor) -> None:
        self.condition.check(cond)

    def check_given(  # pyrefly: ignore[bad-override]
        self, given: Latents | None, keep_BL: Tensor | None, count: int
    ) -> None:
        check_given_latents(type(self).__name__, self.layout, given, keep_BL, count)

    def encode(self, tokens_BLC: Tensor, hidden_BL: Tensor, class_B1D: Tensor) -> Tensor:
        """What the encoder makes of class and known tokens: (B, class_tokens + known, D), in reading order.

        Args:
            tokens_BLC: Tokens; those that are hidden are not looked at.
            hidden_BL: bool, as many in each image.
            class_B1D: What `condition` gives.
        """
        x_BLD = self.input(tokens_BLC.to(self.input.weight.dtype))
        x_BLD = torch.cat([class_B1D.expand(-1, self.class_tokens, -1).type_as(x_BLD), x_BLD], 1)
        x_BLD = self.input_norm(x_BLD + self.encoder_positions)
        known_BL = F.pad(~hidden_BL, (self.class_tokens, 0), value=True)
        x_BND = x_BLD[known_BL].unflatten(0, (len(x_BLD), -1))
        for block in self.encoder:
            x_BND = block(x_BND)
        return self.encoder_norm(x_BND)

    def decode(self, x_BND: Tensor, hidden_BL: Tensor) -> Tensor:
        """Features of all tokens for the head, (B, L, decoder_dim), from what `encode` gives."""
        known_BL = F.pad(~hidden_BL, (self.class_tokens, 0), value=True)
        embedded_BND = self.decoder_input(x_BND)
        x_BLD = self.mask_token.to(embedded_BND.dtype).expand(*known_BL.shape, -1).clone()
        x_BLD[known_BL] = embedded_BND.flatten(0, 1)
        x_BLD = x_BLD + self.decoder_positions
        for block in self.decoder:
            x_BLD = block(x_BLD)
        return self.decoder_norm(x_BLD)[:, self.class_tokens :] + self.output_positions

    def features(self, tokens_BLC: Tensor, hidden_BL: Tensor, labels_B: Tensor) -> Tensor:
        """`decode` of `encode`; drops classes in training."""
        return self.decode(self.encode(tokens_BLC, hidden_BL, self.condition(labels_B)), hidden_BL)

    def draw_hidden(self, batch: int, device: torch.device) -> Tensor:
        """Which tokens training hides: bool (B, L), as many in each image, a share drawn from a truncated normal."""
        share = normal_share(1.0, DEVIATION, self.least_masked, 1.0)
        return hide(batch, self.patching.length, device, share)[0]

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:
        """`mse` and `vb` of the hidden tokens; see `DiffusionHead.losses`.

        Args:
            targets: Latents.
            cond: Classes (B,).

        Raises:
            UserError: See `LatentDiffusion.loss`.
        """
        tokens_BLC = self.patching.split(latents_to_learn(self, targets, cond).normalized().float())
        hidden_BL = self.draw_hidden(len(tokens_BLC), tokens_BLC.device)
        features_BLD = self.features(tokens_BLC, hidden_BL, cond)
        return self.head.losses(tokens_BLC[hidden_BL], features_BLD[hidden_BL])

    @torch.no_grad()
    def sample(  # pyrefly: ignore[bad-override]
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        given: Latents | None = None,
        keep_BL: Tensor | None = None,
        **settings: Any,
    ) -> Latents:
        """Draw latents for each class; see `Generator.sample`.

        Given latents are kept where all of a token's positions are in `keep_BL`, bool (B, H * W). They are known from the
        start, and the passes are those that are left.

        Raises:
            UserError: Classes that it does not have, settings out of range, more passes than tokens, or more steps than the
                head's process has.
        """
        sampling, L = self.Sampling.of(settings), self.patching.length
        if sampling.steps > L:
            raise UserError(f'MAR: {sampling.steps} steps for {L} tokens; give at most {L}.')
        head_steps = sampling.diffusion_steps or min(HEAD_STEPS, self.head.process.steps)
        self.head.process.respaced(head_steps)
        sampling = replace(sampling, steps=sampling.steps or min(MOST_STEPS, L), diffusion_steps=head_steps)
        drop_rate = self.condition.drop_rate
        cond, seeds = images_to_draw(self, cond, rng, seeds, sampling.cfg_scale, drop_rate, given, keep_BL)
        tokens_BLC = torch.zeros(len(cond), L, self.patching.channels, device=cond.device)
        kept_BL = torch.zeros(len(cond), L, dtype=torch.bool, device=cond.device)
        if given is not None and keep_BL is not None:
            kept_BL = kept_patches(self.patching, keep_BL.to(cond.device))
            tokens_BLC = self.patching.split(given.normalized().to(tokens_BLC))
        counts = kept_BL.sum(1).unique()
        if given is not None and keep_BL is not None and len(counts) > 1:  # a pass has as many tokens in each image
            alone = (slice(number, number + 1) for number in range(len(cond)))
            drawn = (
                self.sample(cond[i], seeds=seeds[i], given=given[i], keep_BL=keep_BL[i], **settings) for i in alone
            )
            return Latents(torch.cat([each.values for each in drawn]), self.layout)
        streams = Streams(seeds, cond.device)
        order_BL = kept_last(streams.orders(L), kept_BL)

        def noise(positions_BN: Tensor) -> Tensor:
            return streams.normal(positions_BN.shape[1], 1 + sampling.diffusion_steps, self.patching.channels)

        with eval_mode(self), memory_advice(len(cond), cond.device):
            tokens_BLC = self.draw(cond, order_BL, noise, sampling, tokens_BLC, int(counts[0]) if len(counts) else 0)
        values_BDHW = self.layout.denormalize(self.patching.join(tokens_BLC))
        return Latents(with_given(self.patching, values_BDHW, given, kept_BL), self.layout)

    def draw(
        self,
        cond: Tensor,
        order_BL: Tensor,
        noise: TokenNoise,
        sampling: Sampling,
        tokens_BLC: Tensor | None = None,
        kept: int = 0,
    ) -> Tensor:
        """Tokens (B, L, C), drawn from the end of an order to its beginning; of those given, the last `kept` stay."""
        B, L = order_BL.shape
        if tokens_BLC is None:
            tokens_BLC = torch.zeros(B, L, self.patching.channels, device=cond.device)
        both = torch.cat([cond, self.condition.null(cond)]) if sampling.active else cond
        for before, after in hidden_counts(L - kept, min(sampling.steps, L - kept)) if B else ():
            hidden_BL = first_of(order_BL, before)
            wanted_BL = hidden_BL & ~first_of(order_BL, after)
            copies = len(both) // B
            features = self.features(tokens_BLC.repeat(copies, 1, 1), hidden_BL.repeat(copies, 1), both)
            halves = [half[wanted_BL] for half in features.chunk(copies)]
            noise_NSC = noise(wanted_BL.nonzero()[:, 1].view(B, -1)).flatten(0, 1)
            drawn = (1 - max(1, after) / L) ** sampling.cfg_power  # the last pass is guided as if a token were left
            tokens_BLC[wanted_BL] = self.head.sample(
                halves[0],
                lambda step, noise_NSC=noise_NSC: noise_NSC[:, step],
                sampling.diffusion_steps,
                sampling.temperature,
                halves[1] if sampling.active else None,
                1.0 + (sampling.cfg_scale - 1.0) * SCHEDULES[sampling.cfg_schedule](drawn),
            )
        return tokens_BLC

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Blocks of 32 channels; latents of 4x4 positions and 4 channels, two copies of the class, 20 steps of the head."""
        layout = dict(type='Grid', height=4, width=4, channels=4)
        return dict(layout=layout, dim=32, depth=1, heads=2, head_depth=1, head_width=32, class_tokens=2, steps=20)
