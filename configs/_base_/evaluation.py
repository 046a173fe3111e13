"""What every tokenizer is evaluated by."""

from fvq_core.training import EvaluationLoop
from fvq_eval.metrics import PSNR, SSIM, CodeBits, CodebookUsage, QuantizationError

val_evaluator = [
    dict(type=CodebookUsage),
    dict(type=CodeBits),
    dict(type=PSNR),
    dict(type=SSIM),
    dict(type=QuantizationError),
]
val_cfg = dict(type=EvaluationLoop)
