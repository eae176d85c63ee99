"""Files of weights and training states: writing, checking, describing, detecting, converting."""

# the archs first: they import the host, which registers the models, which need the modules of this package
import mulsr_plugin.archs  # noqa: F401
from mulsr_plugin.checkpoints.shipped import load_pretrained

__all__ = ['load_pretrained']
