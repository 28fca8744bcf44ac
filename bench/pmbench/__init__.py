"""Compares HTTP reverse proxies on one machine; README.md beside this folder says how."""
