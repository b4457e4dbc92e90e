"""Trainings that are killed at random moments and must resume to the last bit: `make kills`."""
