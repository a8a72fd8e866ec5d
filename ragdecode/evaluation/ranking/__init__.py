"""How good rankings are: judged collections and the measures of information retrieval."""
