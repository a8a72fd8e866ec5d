"""Passages as vectors: embedding them, and searching them with FAISS."""
