"""Dataset, cube store, degradation; importing this package registers the dataset in BasicSR's DATASET_REGISTRY."""

from mulsr_plugin.autoload import load_package

load_package(__name__)
