//! TLS: what a ClientHello says before anything is decrypted.
