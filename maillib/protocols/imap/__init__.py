"""IMAP, server side, without I/O: octets in, events out; typed replies as octets. RFC 9051, RFC 3501.

`server.ImapServer` is the connection; `commands` says what a client may ask, `events` what a session gets to see,
`replies` what it answers with.
"""
