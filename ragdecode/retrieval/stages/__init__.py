"""Stages of a retrieval chain, one a file."""
