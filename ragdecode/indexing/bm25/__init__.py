"""Passages as words: counting them, and scoring them with BM25."""
