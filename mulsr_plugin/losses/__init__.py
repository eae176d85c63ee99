"""Losses; importing this package registers them in BasicSR's LOSS_REGISTRY."""

from mulsr_plugin.autoload import load_package

load_package(__name__)
