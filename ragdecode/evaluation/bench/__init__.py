"""Decoding speed of a pipeline against others, in one process, on the same prompts."""
