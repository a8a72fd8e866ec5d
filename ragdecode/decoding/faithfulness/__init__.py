"""Faithfulness of sentences while they are written: features, alignment with the evidence, verdicts, actions."""
