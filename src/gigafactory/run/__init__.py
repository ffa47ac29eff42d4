"""The world: observe, ask the controller, act, write the ledger."""
