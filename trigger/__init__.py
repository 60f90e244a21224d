"""Trigger: HTTP APIs that start workflows, declared in one YAML file."""

__version__ = "0.1.0"
