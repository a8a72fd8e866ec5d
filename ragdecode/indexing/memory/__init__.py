"""The memory of a language model: what it computes at each token of a corpus, and the token that follows."""
