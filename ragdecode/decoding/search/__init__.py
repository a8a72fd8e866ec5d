"""Searches over whole answers: one file each."""
