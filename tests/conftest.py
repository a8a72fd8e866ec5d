"""Settings of all tests: generated examples are the same in every run."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("seeded", derandomize=True, deadline=None, print_blob=False)
settings.load_profile("seeded")
