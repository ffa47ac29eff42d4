"""What we have and what we want: frozen, validated specifications. No file access."""
