"""Everything between a guess and its verification: asking drafters, fusing their drafts, choosing a tree."""
