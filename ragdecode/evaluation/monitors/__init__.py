"""Faithfulness monitors that learn from labelled answers: data, features, training, figures."""
