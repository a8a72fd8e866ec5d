"""What goes on while an index is built."""
