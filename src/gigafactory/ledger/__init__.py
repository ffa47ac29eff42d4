"""The book: entries, JSON lines, fold, replay; the same for twin and reality."""
