"""Ways of taking a question apart, one a file."""
