"""The decoding engine: views, rules, drafters, constraints, monitors. Token ids and tensors only."""
