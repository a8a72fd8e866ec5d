"""The YAML language: typed specs, loading, names, overrides, JSON Schema."""
