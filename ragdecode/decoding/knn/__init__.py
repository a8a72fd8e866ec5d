"""Neighbours in a memory vote on the next token: the arithmetic of kNN-LM."""
