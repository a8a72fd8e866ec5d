"""How passages are found: retrievers, fusion, rerankers, filters."""
