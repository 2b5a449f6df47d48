"""Ranking, its metrics and its pictures."""
