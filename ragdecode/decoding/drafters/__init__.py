"""Drafters: guess a tree of continuations. One drafter a file."""
