"""Ways of merging ranked lists into one, one a file."""
