"""Launcher settings."""
