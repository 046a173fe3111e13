"""Features of captions from a text encoder of transformers: T5 and its kin, or CLIP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fvq_core.errors import UserError

# By the `model_type` of a config.
ENCODERS = {
    't5': 'T5EncoderModel',
    'mt5': 'MT5EncoderModel',
    'umt5': 'UMT5EncoderModel',
    'clip': 'CLIPTextModel',
    'clip_text_model': 'CLIPTextModel',
}


class TextEncoder:
    """Texts to the features of their last layer, one vector a token, without padding.

    Weights are read from safetensors only, and no code of the repository is run.

    Args:
        source: Folder, or repository on the hub, of a T5, mT5, UMT5 or CLIP model with its tokenizer.
        tokens: Longer texts are cut to so many tokens.
        device, precision: Of the network; features are float32.

    Raises:
        UserError: transformers is not installed, or `source` holds no such model.
    """

    def __init__(
        self,
        source: str,
        tokens: int = 120,
        device: torch.device | str = 'cpu',
        precision: torch.dtype = torch.float32,
    ) -> None:
        if tokens < 1:
            raise UserError(f'TextEncoder: tokens must be 1 or more, got {tokens}.')
        try:
            import transformers  # not needed by anything else, and slow to import
        except ImportError as error:
            raise UserError(
                "text encoders need transformers; install it with pip install 'fvq-generators[captions]'."
            ) from error
        try:
            config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
            name = ENCODERS.get(config.model_type)
            if name is None:
                raise UserError(
                    f'{source} is a model of type {config.model_type}, expected one of {", ".join(ENCODERS)}.'
                )
            kind: Any = getattr(transformers, name)
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model = kind.from_pretrained(source, use_safetensors=True, trust_remote_code=False)
        except UserError:
            raise
        except (
            OSError,
            ValueError,
            KeyError,
            ImportError,
        ) as error:  # transformers raises any of them for a bad folder
            reason = re.split(r'\n|\. ', str(error).strip())[0]
            raise UserError(f'{source} holds no text encoder that can be read: {reason}.') from error
        # Not `dtype=` above, which versions before 4.56 do not know.
        self.model = model.eval().requires_grad_(False).to(device, precision)
        most = getattr(config, 'text_config', config)
        self.tokens = min(tokens, getattr(most, 'max_position_embeddings', tokens))

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """float32 (n, C) of each text, n from 1 to `tokens`; raises if features are not finite."""
        read = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.tokens,
            return_tensors='pt',
            return_attention_mask=True,
        ).to(self.model.device)
        features_BTC = self.model(input_ids=read['input_ids'], attention_mask=read['attention_mask']).last_hidden_state
        features_BTC, mask_BT = features_BTC.float().cpu(), read['attention_mask'].bool().cpu()
        if not features_BTC[mask_BT].isfinite().all():
            raise UserError('the features of a caption are not finite; use --precision float32.')
        return [each_TC[seen_T].numpy() for each_TC, seen_T in zip(features_BTC, mask_BT, strict=True)]
