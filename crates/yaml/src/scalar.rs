//! What a plain scalar means: YAML 1.1 as Go's library reads it, which is what kubectl reads.

use serde_json::Number;

use crate::tree::Value;

/// A scalar that JSON cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotFinite;

/// Resolves a plain scalar without a tag.
pub(crate) fn resolve(text: &str) -> Result<Value, NotFinite> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => return Err(NotFinite),
        _ => match number(text) {
            Some(number) => Value::Number(number),
            None => Value::String(text.to_owned()),
        },
    })
}

/// Reads a number; `None` where the text is none.
pub(crate) fn number(text: &str) -> Option<Number> {
    match text.as_bytes().first()? {
        b'.' => float(text),
        b'+' | b'-' | b'0'..=b'9' => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain))
        }
        _ => None,
    }
}

/// Reads an integer with an optional sign, in base 16 (`0x`), 8 (`0`, `0o`), 2 (`0b`) or 10.
fn integer(text: &str) -> Option<Number> {
    let (negative, signed, digits) = match text.as_bytes().first()? {
        b'-' => (true, true, &text[1..]),
        b'+' => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match i64::try_from(magnitude) {
        Ok(value) => Some(Number::from(if negative { -value } else { value })),
        Err(_) if negative && magnitude == 1 << 63 => Some(Number::from(i64::MIN)),
        Err(_) if signed => None,
        Err(_) => Some(Number::from(magnitude)),
    }
}

/// Reads a decimal fraction. A whole one becomes a whole number, as it does when kubectl writes it as JSON.
fn float(text: &str) -> Option<Number> {
    if !looks_like_float(text) {
        return None;
    }
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    // The bounds are powers of two, which floats hold exactly.
    if value.fract() == 0.0 && value != 0.0 && value.abs() < 9_223_372_036_854_775_808.0 {
        return Some(Number::from(value as i64));
    }
    if value.to_bits() == 0 {
        return Some(Number::from(0));
    }
    Number::from_f64(value)
}

/// Whether the text is `[-+](.digits | digits[.digits])[e[-+]digits]`.
fn looks_like_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa_ok && exponent_ok
}

/// The text of a key that is a number, as kubectl writes it.
pub(crate) fn key(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => float_key(float),
        _ => number.to_string(),
    }
}

/// Go's shortest form of a float of 32 bits: an exponent below 1e-4 and from 1e21 on.
fn float_key(value: f64) -> String {
    let value = value as f32;
    let magnitude = value.abs();
    if value == 0.0 || (1e-4..1e21).contains(&magnitude) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    fn read(text: &str) -> Json {
        match resolve(text) {
            Ok(Value::Null) => Json::Null,
            Ok(Value::Bool(value)) => json!(value),
            Ok(Value::Number(number)) => Json::Number(number),
            Ok(Value::String(text)) => json!(text),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn words() {
        for text in ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"] {
            assert_eq!(read(text), json!(true), "{text}");
        }
        for text in ["n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"] {
            assert_eq!(read(text), json!(false), "{text}");
        }
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(read(text), Json::Null, "{text}");
        }
        for text in
            ["yEs", "oN", "tRue", "nULL", "none", "<<", "a", "-", "+", ".", "0x", "0o8", "1a"]
        {
            assert_eq!(read(text), json!(text), "{text}");
        }
        for text in [".inf", "-.INF", ".NaN"] {
            assert_eq!(resolve(text), Err(NotFinite), "{text}");
        }
    }

    #[test]
    fn numbers() {
        for (text, number) in [
            ("0", json!(0)),
            ("80", json!(80)),
            ("-1", json!(-1)),
            ("+1", json!(1)),
            ("0644", json!(420)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("-0x1f", json!(-31)),
            ("0b101", json!(5)),
            ("1_000", json!(1000)),
            ("09", json!(9)),
            ("1.5", json!(1.5)),
            ("1.", json!(1)),
            (".5", json!(0.5)),
            ("1e3", json!(1000)),
            ("1E-2", json!(0.01)),
            ("1e400", json!("1e400")),
            ("1:30", json!("1:30")),
            ("2001-01-01", json!("2001-01-01")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("9223372036854775807", json!(i64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551615", json!(u64::MAX)),
            ("123456789012345678901234567890", json!(1.234_567_890_123_456_8e29)),
        ] {
            assert_eq!(read(text), number, "{text}");
        }
    }

    #[test]
    fn keys_that_are_numbers() {
        let key = |text: &str| key(&number(text).expect("a number"));
        assert_eq!(key("0x10"), "16");
        assert_eq!(key("1.5"), "1.5");
        assert_eq!(key("0.00001"), "1e-05");
    }
}
