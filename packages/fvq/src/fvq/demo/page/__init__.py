"""The page itself, in gradio: it shows what the files above compute, and nothing here computes."""
