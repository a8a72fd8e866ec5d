"""Measuring pipelines: benchmarks of speed, and runs over data sets."""
