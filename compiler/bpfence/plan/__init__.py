"""Layouts, sizes, features and budgets: pure data."""
