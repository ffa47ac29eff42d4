"""The story: tables, figures, twin beside reality, one self-contained page."""
