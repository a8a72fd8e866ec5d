"""Grounding spaces: what a model predicts inside texts that are known to be true, found again by meaning."""
