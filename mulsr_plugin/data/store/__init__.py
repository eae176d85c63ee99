"""The LMDB store of spectral cubes."""
