"""Causal language models, sentence encoders and cross-encoders: sources, cache, loading."""
