"""LangChain's vector stores and embeddings."""
