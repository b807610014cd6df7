"""Digits on Ray Serve."""
