"""Constraints that a grammar states: a parser is carried down the draft tree and says which tokens may follow."""
