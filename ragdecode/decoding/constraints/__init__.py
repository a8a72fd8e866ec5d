"""Constraints: forbid tokens. One constraint a file."""
