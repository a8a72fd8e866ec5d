"""Files to passages: readers, splitting, ids."""
