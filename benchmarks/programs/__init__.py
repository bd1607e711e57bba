"""Whole programs side by side: what the benchmarks of images and of containers share."""
