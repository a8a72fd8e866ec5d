"""Aligners: how far passages support a sentence, and where. One a file."""
