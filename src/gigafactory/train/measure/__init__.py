"""Measuring the machine at hand with the pieces that the training program is made of."""
