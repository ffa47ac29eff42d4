"""The bot on X: called by name, answers with quotes, keeps the platform's rules, pays by the
day."""
