"""Thin shim: the settings live in pyproject.toml."""

from setuptools import setup

setup()
