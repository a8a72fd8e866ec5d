"""Collections in Milvus."""
