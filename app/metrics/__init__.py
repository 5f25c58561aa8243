"""Figures for Prometheus and for administrators, right across the workers of a machine."""
