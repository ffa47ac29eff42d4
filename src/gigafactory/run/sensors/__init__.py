"""What is seen of the machine."""
