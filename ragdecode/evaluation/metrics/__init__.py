"""What answers and evidence are measured by, one metric a file."""
