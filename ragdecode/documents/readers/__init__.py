"""Readers of file formats, one a file, found by the suffixes they declare."""
