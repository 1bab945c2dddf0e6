//! Numbers and addresses, written without the formatting machinery: log lines are full of them.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Room for the longest number.
const LONGEST: usize = 20;

/// Appends a number.
pub(super) fn number(value: u64, out: &mut Vec<u8>) {
    padded(value, 1, out);
}

/// Appends a number with zeros before it, so that it has at least `width` digits (at most 20).
pub(super) fn padded(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; LONGEST];
    let mut first = LONGEST;
    while value > 0 {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    let first = first.min(LONGEST.saturating_sub(width));
    out.extend_from_slice(&digits[first..]);
}

/// Appends an address.
pub(super) fn ip(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            let (text, length) = dotted(address);
            out.extend_from_slice(&text[..length]);
        }
        // Writing to a vector does not fail.
        IpAddr::V6(address) => {
            let _ = write!(out, "{address}");
        }
    }
}

/// Appends an address and its port.
pub(super) fn socket_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(address) => {
            let (mut text, length) = dotted(*address.ip());
            text[length] = b':';
            out.extend_from_slice(&text[..=length]);
            number(address.port().into(), out);
        }
        SocketAddr::V6(address) => {
            let _ = write!(out, "{address}");
        }
    }
}

/// `255.255.255.255` with room for one more byte, and its length.
fn dotted(address: Ipv4Addr) -> ([u8; 16], usize) {
    let mut text = [b'.'; 16];
    let mut length = 0;
    for part in address.octets() {
        // The digits, hundreds first, without leading zeros; behind each part stands a point already.
        for digit in [part / 100, part / 10 % 10, part % 10].into_iter().skip(leading_zeros(part)) {
            text[length] = b'0' + digit;
            length += 1;
        }
        length += 1;
    }
    (text, length - 1)
}

/// Leading zeros of a byte in three digits, of which the last one always stands.
fn leading_zeros(part: u8) -> usize {
    usize::from(part < 100) + usize::from(part < 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_the_standard_library_writes_them() {
        for value in [0, 1, 9, 10, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(written(|out| number(value, out)), value.to_string());
            assert_eq!(written(|out| padded(value, 6, out)), format!("{value:06}"));
        }
        for text in [
            "0.0.0.0:0",
            "10.127.220.75:52077",
            "255.255.255.255:65535",
            "1.20.99.100:7",
            "[::1]:80",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(written(|out| socket_address(address, out)), text);
            assert_eq!(written(|out| ip(address.ip(), out)), address.ip().to_string());
        }
    }
}
