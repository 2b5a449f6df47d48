"""Recipes, data only."""
