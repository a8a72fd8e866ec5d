"""Between two vocabularies: what a draft model with another tokenizer reads, and what its drafts say in ours."""
