"""Stores, one a file: what an index can be searched by."""
