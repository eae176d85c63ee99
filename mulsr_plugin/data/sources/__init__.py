"""Scenes of published data sets and of folders, as :class:`mulsr_plugin.data.cube.SourceScene`."""
