"""The HTTP service: pipelines behind an API, and a page."""
