"""Lists the packages, which pyproject.toml cannot once one of them lies elsewhere; all other settings are there."""

from setuptools import find_packages, setup

# never the linked folder basicsr/
setup(packages=[*find_packages(include=['mulsr_plugin', 'mulsr_plugin.*']), 'mulsr_plugin.options'])
