//! Networks: where clients reach a service, and which addresses of a gateway connections came to (`destinationSubnets` of
//! rules for connections).
//!
//! A data plane looks at the destination's address before the server name, takes the chains of the narrowest network
//! that has it, and never comes back for others. So that rules mean what they say, the networks that any rule of a
//! listener asks for divide its addresses into parts, and each chain is given for every part that it takes.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: the first `bits` of an address; the others are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    address: IpAddr,
    bits: u8,
}

/// The addresses of a listener that are in a network and in none of the narrower ones that its rules ask for.
pub type Part = Subnet;

/// The parts of a listener; none where no rule tells addresses apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts(BTreeSet<Part>);

impl Subnet {
    const EVERY: [Self; 2] = [
        Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), bits: 0 },
        Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), bits: 0 },
    ];

    /// A network as rules write it: `10.0.0.0/8`, or an address alone.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        (bits <= all).then(|| Self { address: masked(address, bits), bits })
    }

    fn has(&self, other: &Self) -> bool {
        let comparable = self.address.is_ipv4() == other.address.is_ipv4();
        comparable && self.bits <= other.bits && masked(other.address, self.bits) == self.address
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.bits) == self.address
    }

    /// The first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits of it count.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// The address, where it is a single one.
    #[must_use]
    pub fn single(&self) -> Option<IpAddr> {
        let all = if self.address.is_ipv4() { 32 } else { 128 };
        (self.bits == all).then_some(self.address)
    }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

impl From<IpAddr> for Subnet {
    /// The address alone.
    fn from(address: IpAddr) -> Self {
        Self { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Parts {
    /// The parts that these networks make.
    #[must_use]
    pub fn of(asked: impl IntoIterator<Item = Subnet>) -> Self {
        let mut parts: BTreeSet<Part> = asked.into_iter().collect();
        if !parts.is_empty() {
            parts.extend(Subnet::EVERY);
        }
        Self(parts)
    }

    /// The parts that a condition takes which asks for these networks; all of them where it asks for none.
    #[must_use]
    pub fn within(&self, asked: &BTreeSet<Subnet>) -> BTreeSet<Part> {
        let takes = |part: &&Part| asked.is_empty() || asked.iter().any(|asked| asked.has(part));
        self.0.iter().filter(takes).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Subnet {
        Subnet::parse(text).expect(text)
    }

    #[test]
    fn networks_are_read_and_masked() {
        for (text, shown) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(net(text).to_string(), shown);
        }
        for wrong in ["10.0.0.0/33", "10.0.0/8", "a", "::/129", "10.0.0.0/x", ""] {
            assert_eq!(Subnet::parse(wrong), None, "{wrong}");
        }
        assert_eq!(net("10.0.0.0/8").single(), None);
        assert_eq!(net("::1").single(), "::1".parse().ok());
        assert!(net("10.0.0.0/8").contains("10.9.9.9".parse().expect("an address")));
        assert!(net("10.0.0.0/8").contains("::ffff:10.9.9.9".parse().expect("an address")));
        assert!(!net("10.0.0.0/8").contains("11.0.0.0".parse().expect("an address")));
    }

    #[test]
    fn a_condition_takes_what_is_narrower_too() {
        assert!(Parts::of([]).within(&BTreeSet::new()).is_empty());
        let parts = Parts::of([net("10.0.0.0/8"), net("10.1.0.0/16"), net("192.0.2.1")]);
        let taken = |asked: &[&str]| -> Vec<String> {
            let asked = asked.iter().map(|text| net(text)).collect();
            parts.within(&asked).iter().map(ToString::to_string).collect()
        };
        assert_eq!(taken(&["10.0.0.0/8"]), ["10.0.0.0/8", "10.1.0.0/16"]);
        assert_eq!(taken(&["10.1.0.0/16"]), ["10.1.0.0/16"]);
        assert_eq!(taken(&[]).len(), 5, "and everything else, of both families");
    }
}
