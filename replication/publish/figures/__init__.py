"""Figures: each module draws tables of estimates and computes none; only `style.save` touches the disk."""
