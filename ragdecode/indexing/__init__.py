"""Indexes on disk: stores, manifest, build, verification."""
