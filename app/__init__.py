"""Digits reads handwritten digits over HTTP."""
