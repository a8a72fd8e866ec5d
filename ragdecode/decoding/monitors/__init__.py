"""Monitors: watch accepted tokens and may act. One monitor a file."""
