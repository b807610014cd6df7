"""HTTP/1.1 on sockets: the protocol and its limits, the listener, the drain, the supervisor."""
