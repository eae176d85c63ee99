"""Training and test models; importing this package registers them in BasicSR's MODEL_REGISTRY."""

from mulsr_plugin.autoload import load_package

load_package(__name__)
