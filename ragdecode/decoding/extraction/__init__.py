"""Exact extraction: the most probable span of the passages, by best-first search over the trie of their suffixes."""
