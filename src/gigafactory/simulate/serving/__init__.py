"""The twin of a fleet that serves: requests one by one, through the real schedulers."""
