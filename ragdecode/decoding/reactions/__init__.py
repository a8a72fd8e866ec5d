"""What monitors may do about an unfaithful sentence, one a file."""
