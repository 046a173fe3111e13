"""TokBench (Wu et al., 2025, arXiv 2505.18142): words and faces that survive a tokenizer, in folders of reconstructions."""
