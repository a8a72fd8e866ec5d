"""Backends: one forward pass a model over a flat list of new tokens."""
