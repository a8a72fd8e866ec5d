"""The token datastore: the corpus as token ids in suffix arrays, for drafters that guess what follows."""
