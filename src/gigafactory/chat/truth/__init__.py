"""Answers that quote or refuse: posts with their authority, what supports a claim, and a record of
it all."""
