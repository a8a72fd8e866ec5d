"""Plain text, whatever it is the text of: where its sentences begin and end."""
