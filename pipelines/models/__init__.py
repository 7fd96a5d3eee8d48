"""Bundles, made and kept."""
