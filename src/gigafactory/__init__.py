"""gigafactory: describe, plan, simulate, run and report a gigafactory of compute."""

__version__ = "0.1.0"
