"""Whether the votes of kNN-LM help, where and how much: what `ragdecode diagnose knn` computes."""
