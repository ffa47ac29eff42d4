"""Former name of network.py."""

from gigafactory.net.network import Network as Grok
from gigafactory.net.network import initialise

__all__ = ["Grok", "initialise"]
