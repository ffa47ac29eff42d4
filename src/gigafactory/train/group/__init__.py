"""One process of a replica group: it goes on with whoever is left."""
