"""Loaders of documents that are not files of a folder, one a file."""
