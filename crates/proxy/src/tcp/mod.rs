//! The TCP proxy: bytes from one socket to another.
