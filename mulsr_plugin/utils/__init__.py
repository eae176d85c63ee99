"""Helpers shared by the other packages; nothing here registers anything."""
