"""Which network interface of this host an address belongs to."""

from __future__ import annotations

import socket
import struct

_SIOCGIFADDR = 0x8915


def interface_of(address: str) -> str:
    """Name of the interface with this IPv4 address; empty where there is none, or no way to ask."""
    try:
        import fcntl

        names = [name for _, name in socket.if_nameindex()]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            for name in names:
                request = struct.pack("256s", name.encode()[:15])
                try:
                    answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
                except OSError:
                    continue
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    except (ImportError, OSError):
        pass
    return ""
