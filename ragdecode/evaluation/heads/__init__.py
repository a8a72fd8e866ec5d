"""What single attention heads of a model do: which of them copy, and which tell that context is used."""
