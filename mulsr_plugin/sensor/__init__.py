"""Sensor model of a pair: blur of the cube, spectral response of the guide, noise; with exact adjoints."""

from mulsr_plugin.autoload import import_host

import_host()
