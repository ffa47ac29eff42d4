"""The chapters of the page, each a pure function from a study's documents to blocks."""
