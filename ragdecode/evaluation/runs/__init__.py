"""Evaluation runs: pipelines x data sets x settings x seeds, journalled sample by sample."""
