"""HTTP clients of servers on loopback, which don't encrypt."""

import ssl

UNENCRYPTED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""What such a client verifies certificates with: nobody is trusted by it. To read whom the system
trusts takes 30 ms, as often as a client is made."""
