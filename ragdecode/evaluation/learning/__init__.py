"""Small models that learn from labelled examples: logistic regression, boosted trees, calibration."""
