"""Messages to systemd (sd_notify(3)): that a service is ready, and still alive."""

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send a state, as "READY=1" or "WATCHDOG=1"; without a service manager nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name in Linux' abstract namespace
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.send(state.encode())
