"""Runs a spec: stages, streaming, trace, adapters."""
