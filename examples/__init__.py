"""Workflows that config.yaml and the README use."""
