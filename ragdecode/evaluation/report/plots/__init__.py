"""Plots as SVG text: axes with ticks, labels that stay inside, colours for light and dark."""
