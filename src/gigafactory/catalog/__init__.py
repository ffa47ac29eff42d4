"""Published facts with their sources, and the strict reader of study files."""
