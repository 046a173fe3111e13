"""Saved models: folders, the Hugging Face hub, model cards."""
