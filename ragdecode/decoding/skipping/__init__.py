"""Choosing which sub-layers of a model to leave out when it drafts for itself."""
