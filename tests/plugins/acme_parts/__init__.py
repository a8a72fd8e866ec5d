"""A small package of somebody else's that brings a part of every kind."""
