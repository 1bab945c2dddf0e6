//! Scalars that Istio and Kubernetes write as plain strings or numbers but that mean more: ports,
//! durations, percentages, int-or-string. Each is checked where it is read, so that the rest of the
//! program holds only valid values.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _, IgnoredAny, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A port number between 1 and 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port of that number; `None` for 0 and for what does not fit 16 bits.
    pub fn new(number: u64) -> Option<Self> {
        u16::try_from(number).ok().and_then(NonZeroU16::new).map(Port)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> u16 {
        port.get()
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Port::new(number).ok_or_else(|| D::Error::custom("port must be between 1-65535"))
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.get())
    }
}

impl JsonSchema for Port {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "format": "uint16", "x-rule": "port"})
    }
}

/// Reads an optional port where protobuf's zero means "not given".
pub(crate) fn zero_is_no_port<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Port>, D::Error> {
    match Option::<u64>::deserialize(deserializer)? {
        None | Some(0) => Ok(None),
        Some(number) => Port::new(number)
            .map(Some)
            .ok_or_else(|| D::Error::custom("port must be between 1-65535")),
    }
}

/// Schema of a field that [`zero_is_no_port`] reads.
pub(crate) fn port_or_zero(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "uint16", "x-rule": "port-or-zero"})
}

/// A span of time as Go writes it (`3s`, `1m30s`, `250ms`, `1.5h`), which is what Istio reads.
/// Never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(Duration);

impl GoDuration {
    /// The span as the standard library's type.
    pub fn get(self) -> Duration {
        self.0
    }

    /// Reads Go's notation: one or more decimal numbers, each with a unit of `ns`, `us`, `µs`, `ms`,
    /// `s`, `m` or `h`; a lone `0` needs none. `None` for anything else, negative spans included.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('+').unwrap_or(text);
        if text == "0" {
            return Some(GoDuration(Duration::ZERO));
        }
        let mut rest = text;
        let mut nanos: u128 = 0;
        while !rest.is_empty() || text.is_empty() {
            let (amount, after) = go_term(rest)?;
            nanos = nanos.checked_add(amount)?;
            rest = after;
        }
        // Go's durations are 63 bits of nanoseconds, a little over 292 years.
        let nanos = u64::try_from(nanos).ok().filter(|n| *n <= i64::MAX as u64)?;
        Some(GoDuration(Duration::from_nanos(nanos)))
    }
}

/// Reads one `<number><unit>` term: its nanoseconds, and what follows it.
fn go_term(text: &str) -> Option<(u128, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, mut rest) = text.split_at(digits);
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        (fraction, rest) = after.split_at(digits);
    }
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 19 {
        return None;
    }
    const UNITS: [(&str, u128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let (unit, nanos) = UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // More than 18 decimals are below a nanosecond for every unit.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = match fraction.parse::<u128>() {
        Ok(value) => value * nanos / 10u128.pow(u32::try_from(fraction.len()).ok()?),
        Err(_) => 0,
    };
    Some((whole.checked_mul(nanos)?.checked_add(part)?, &rest[unit.len()..]))
}

impl From<GoDuration> for Duration {
    fn from(span: GoDuration) -> Duration {
        span.0
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        GoDuration::parse(&text).ok_or_else(|| D::Error::custom("must be a duration such as 3s"))
    }
}

impl JsonSchema for GoDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "x-rule": "duration"})
    }
}

/// Schema of a duration that may be anything from zero up, where [`GoDuration`] alone asks for a
/// millisecond at least.
pub(crate) fn duration_or_zero(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "x-rule": "duration-or-zero"})
}

/// A share of something, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub struct Percent {
    /// The share, between 0 and 100; fractions are allowed.
    #[serde(default)]
    pub value: f64,
}

/// A number or a name, as Kubernetes takes for target ports and rolling-update sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrString {
    /// Written as a number.
    Int(i32),
    /// Written as text: a port's name, or a percentage.
    String(String),
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IntOrString::Int(number) => number.fmt(f),
            IntOrString::String(text) => text.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a 32-bit number or a string")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<IntOrString, E> {
                i32::try_from(number).map(IntOrString::Int).map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<IntOrString, E> {
                i32::try_from(number).map(IntOrString::Int).map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::String(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for IntOrString {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "IntOrString".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-int-or-string": true})
    }
}

/// A part of an object that is stored and shown as it was written, and that nothing here reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opaque;

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Opaque)
    }
}

impl JsonSchema for Opaque {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Opaque".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-preserve-unknown-fields": true})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        let nanos = |text| GoDuration::parse(text).map(|d| d.get().as_nanos());
        assert_eq!(nanos("3s"), Some(3_000_000_000));
        assert_eq!(nanos("1m30s"), Some(90_000_000_000));
        assert_eq!(nanos("1.5h"), Some(5_400_000_000_000));
        assert_eq!(nanos(".5s"), Some(500_000_000));
        assert_eq!(nanos("5.s"), Some(5_000_000_000));
        assert_eq!(nanos("250ms"), Some(250_000_000));
        assert_eq!(nanos("7µs"), Some(7_000));
        assert_eq!(nanos("0"), Some(0));
        assert_eq!(nanos("0s"), Some(0));
        assert_eq!(nanos("30.000000005s"), Some(30_000_000_005));
        for bad in
            ["", "s", "3", "-1s", "1d", ".s", "3 s", "9223372037s", "99999999999999999999s", "+"]
        {
            assert_eq!(nanos(bad), None, "{bad}");
        }
    }

    #[test]
    fn ports() {
        assert_eq!(Port::new(0), None);
        assert_eq!(Port::new(65_536), None);
        assert_eq!(Port::new(65_535).map(Port::get), Some(65_535));
    }
}
