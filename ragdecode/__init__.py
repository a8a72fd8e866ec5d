"""Retrieval-augmented generation in which decoding is a stage of the pipeline."""

__version__ = "0.1.0"
