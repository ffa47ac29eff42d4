"""The network itself, in torch: one definition for training and serving."""
