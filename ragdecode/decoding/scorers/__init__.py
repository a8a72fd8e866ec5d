"""Scorers: how good the answer would be with each candidate token."""
