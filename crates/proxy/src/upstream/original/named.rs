//! Where a request says itself that it goes, or which port, in a cluster that sends to where clients dialled
//! (`original_dst_lb_config`). As in Envoy: what a filter noted first, then a header, then what was dialled.

use std::net::SocketAddr;

use crate::http::RequestHead;
use crate::metadata::Value;
use crate::route::Field;

/// The header that is read where no other is named.
pub const HEADER: &str = "x-envoy-original-dst-host";

/// What takes the place of the address that was dialled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// What a filter noted (`metadata_key`).
    pub noted: Option<Noted>,
    /// The first value of a header (`use_http_header`, `http_header_name`). Clients say it: whoever is to reach only some addresses
    /// must not be let say any.
    pub header: Option<Field>,
    /// The port of whichever address it is (`upstream_port_override`).
    pub port: Option<u16>,
}

/// A place in what filters note of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The name under which the filter notes.
    pub of: Box<str>,
    /// The keys below that, at least one.
    pub path: Box<[Box<str>]>,
}

impl Named {
    /// The address with a port that a request says. `invalid` is told of texts that are none, which count as absent.
    pub fn address(&self, head: &RequestHead, invalid: impl Fn()) -> Option<SocketAddr> {
        let parsed = |text: &str| text.parse().inspect_err(|_| invalid()).ok();
        let noted = self.noted(head).and_then(parsed);
        noted.or_else(|| {
            let value = self.header.as_ref()?.values(head).next()?;
            parsed(std::str::from_utf8(value).unwrap_or_default())
        })
    }

    fn noted<'h>(&self, head: &'h RequestHead) -> Option<&'h str> {
        let Noted { of, path } = self.noted.as_ref()?;
        match head.noted.get(of, path)? {
            Value::Text(text) => Some(text),
            Value::List(values) => match values.first()? {
                Value::Text(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// An address, with the port that it is to have.
    #[must_use]
    pub fn ported(&self, mut address: SocketAddr) -> SocketAddr {
        if let Some(port) = self.port {
            address.set_port(port);
        }
        address
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn head(headers: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::default();
        for (name, value) in headers {
            head.headers.append(name.as_bytes(), value.as_bytes());
        }
        head
    }

    #[test]
    fn what_was_noted_goes_before_a_header_and_what_is_no_address_counts_as_absent() {
        let noted = Some(Noted { of: "filter".into(), path: ["to".into()].into() });
        let named = Named { noted, header: Some(Field::new(HEADER)), port: None };
        let invalid = Cell::new(0);
        let address = |head: &RequestHead| named.address(head, || invalid.set(invalid.get() + 1));
        let at = |text: &str| Some(text.parse::<SocketAddr>().expect("an address"));
        assert_eq!(address(&head(&[])), None);
        let mut told = head(&[(HEADER, "10.0.0.1:80"), (HEADER, "10.0.0.2:80")]);
        assert_eq!(address(&told), at("10.0.0.1:80"));
        for (value, wanted) in [
            (Value::Text("[fd00::1]:81".into()), "[fd00::1]:81"),
            (Value::List(vec![Value::Text("10.0.0.3:82".into())]), "10.0.0.3:82"),
            (Value::Number(5.0), "10.0.0.1:80"),
        ] {
            told.noted.note("filter", "to".into(), value);
            assert_eq!(address(&told), at(wanted));
        }
        assert_eq!(invalid.get(), 0);
        told.noted.note("filter", "to".into(), Value::Text("here".into()));
        assert_eq!((address(&told), invalid.get()), (at("10.0.0.1:80"), 1));
        // Without a port it is none.
        assert_eq!((address(&head(&[(HEADER, "10.0.0.1")])), invalid.get()), (None, 2));
    }

    #[test]
    fn a_port_may_be_another() {
        let address = "10.0.0.1:80".parse().expect("an address");
        assert_eq!(Named::default().ported(address), address);
        let other = Named { port: Some(8080), ..Named::default() };
        assert_eq!(other.ported(address).to_string(), "10.0.0.1:8080");
    }
}
