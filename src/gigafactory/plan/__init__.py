"""Choose: candidates, what fits, what is fastest, and why."""
