//! Which headers of a request, and which notes of filters, must be kept because a format asks for them.

use super::Field;

/// Where a header stands, or what filters noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Request,
    Response,
    Trailer,
    /// By a path as formats write it: `FILTER:KEY:KEY`.
    Metadata,
}

/// Headers that formats ask for, while a plan is made.
#[derive(Debug, Default)]
pub(super) struct Headers(CapturePlan);

impl Headers {
    /// Asks for a header that not every record keeps, by its name in lower case.
    pub(super) fn add(&mut self, source: Source, name: &str) {
        let names = match source {
            Source::Request => &mut self.0.request,
            Source::Response => &mut self.0.response,
            Source::Trailer => &mut self.0.trailer,
            Source::Metadata => &mut self.0.metadata,
        };
        if !names.iter().any(|known| **known == *name) {
            names.push(name.into());
        }
    }

    /// The plan; on an error the number of headers that is too large.
    pub(super) fn into_plan(self) -> Result<CapturePlan, usize> {
        let CapturePlan { request, response, trailer, metadata } = &self.0;
        let most = [request, response, trailer, metadata].map(Vec::len);
        match most.into_iter().max() {
            Some(count) if count > CapturePlan::MOST => Err(count),
            _ => Ok(self.0),
        }
    }
}

/// Which headers formats ask for beyond those that every [`Record`](super::Record) keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturePlan {
    request: Vec<Box<str>>,
    response: Vec<Box<str>>,
    trailer: Vec<Box<str>>,
    metadata: Vec<Box<str>>,
}

impl CapturePlan {
    /// Most headers of one kind.
    pub const MOST: usize = 256;

    /// Request headers to keep, in lower case; the index is what [`Field::Request`] takes.
    pub fn request(&self) -> &[Box<str>] {
        &self.request
    }

    /// Response headers to keep; the index is what [`Field::Response`] takes.
    pub fn response(&self) -> &[Box<str>] {
        &self.response
    }

    /// Response trailers to keep; the index is what [`Field::Trailer`] takes.
    pub fn trailer(&self) -> &[Box<str>] {
        &self.trailer
    }

    /// What to keep of what filters noted, as formats write it; the index is what [`Field::Metadata`] takes.
    pub fn metadata(&self) -> &[Box<str>] {
        &self.metadata
    }

    /// The field that keeps a header, if it was asked for.
    pub(super) fn field(&self, source: Source, name: &str) -> Option<Field> {
        let (names, field): (_, fn(u8) -> Field) = match source {
            Source::Request => (&self.request, Field::Request),
            Source::Response => (&self.response, Field::Response),
            Source::Trailer => (&self.trailer, Field::Trailer),
            Source::Metadata => (&self.metadata, Field::Metadata),
        };
        let index = names.iter().position(|known| **known == *name)?;
        u8::try_from(index).ok().map(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_header_once() {
        let mut headers = Headers::default();
        for name in ["x-foo", "x-bar", "x-foo"] {
            headers.add(Source::Request, name);
        }
        headers.add(Source::Trailer, "x-foo");
        let plan = headers.into_plan().unwrap();
        assert_eq!(plan.request(), ["x-foo".into(), "x-bar".into()]);
        assert_eq!((plan.response().len(), plan.trailer().len()), (0, 1));
        assert_eq!(plan.field(Source::Request, "x-bar"), Some(Field::Request(1)));
        assert_eq!(plan.field(Source::Response, "x-bar"), None);
    }

    #[test]
    fn a_plan_is_bounded() {
        let mut headers = Headers::default();
        (0..257).for_each(|index| headers.add(Source::Request, &format!("x-{index}")));
        assert_eq!(headers.into_plan(), Err(257));
    }
}
