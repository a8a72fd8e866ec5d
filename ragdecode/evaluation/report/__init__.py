"""Reports: self-contained HTML pages with plots, drawn from plain data."""
