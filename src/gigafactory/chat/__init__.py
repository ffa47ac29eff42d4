"""The chatbot service."""
