"""Command lines; modules of this package import what is heavy only when a command runs."""
