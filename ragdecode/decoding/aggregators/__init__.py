"""Aggregators: from the features of a sentence to the probability that it is faithful. One a file."""
