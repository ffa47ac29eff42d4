"""One short file per verb, over api."""
