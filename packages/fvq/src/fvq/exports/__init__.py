"""Tokenizers for people without FVQ: programs of torch.export, ONNX models and folders of diffusers, compared before use."""
