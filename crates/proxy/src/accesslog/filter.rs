//! Which records an output takes (`envoy.config.accesslog.v3.AccessLogFilter`).

use std::time::Duration;

use super::{Record, ResponseFlags};

/// A condition on a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `status_code_filter`
    Status(Compare, u16),
    /// `duration_filter`, whole milliseconds.
    Duration(Compare, u64),
    /// `response_flag_filter`: any of these flags; without flags any at all.
    Flags(ResponseFlags),
    /// `and_filter`
    All(Vec<Filter>),
    /// `or_filter`
    Any(Vec<Filter>),
}

/// `ComparisonFilter.Op`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `EQ`
    Equal,
    /// `GE`
    AtLeast,
    /// `LE`
    AtMost,
    /// `NE`
    NotEqual,
}

impl Filter {
    /// Whether the record is taken.
    pub fn accepts(&self, record: &Record) -> bool {
        match self {
            Self::Status(compare, status) => compare.holds(record.status, *status),
            Self::Duration(compare, millis) => {
                let limit = u128::from(*millis);
                compare.holds(record.timing.end.as_millis(), limit)
            }
            Self::Flags(flags) if flags.is_empty() => !record.flags.is_empty(),
            Self::Flags(flags) => record.flags.intersects(*flags),
            Self::All(filters) => filters.iter().all(|filter| filter.accepts(record)),
            Self::Any(filters) => filters.iter().any(|filter| filter.accepts(record)),
        }
    }

    /// `duration_filter` from a duration.
    pub fn duration(compare: Compare, limit: Duration) -> Self {
        Self::Duration(compare, u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Compare {
    fn holds<T: Ord + Copy>(self, value: T, limit: T) -> bool {
        match self {
            Self::Equal => value == limit,
            Self::AtLeast => value >= limit,
            Self::AtMost => value <= limit,
            Self::NotEqual => value != limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::accesslog::{Kind, Log};

    #[test]
    fn conditions() {
        let mut record = Record::new(Kind::Http, SystemTime::now(), &Log::default());
        record.status = 503;
        record.timing.end = Duration::from_micros(1_500);
        let errors = Filter::Status(Compare::AtLeast, 500);
        assert!(errors.accepts(&record));
        assert!(Filter::duration(Compare::AtMost, Duration::from_millis(1)).accepts(&record));
        assert!(!Filter::Flags(ResponseFlags::NONE).accepts(&record));
        record.flags = ResponseFlags::NO_HEALTHY_UPSTREAM;
        assert!(Filter::Flags(ResponseFlags::NONE).accepts(&record));
        assert!(!Filter::Flags(ResponseFlags::NO_ROUTE_FOUND).accepts(&record));
        let no_route = Filter::Flags(ResponseFlags::NO_ROUTE_FOUND);
        assert!(!Filter::All(vec![errors.clone(), no_route.clone()]).accepts(&record));
        assert!(Filter::Any(vec![errors, no_route]).accepts(&record));
        assert!(!Filter::Status(Compare::NotEqual, 503).accepts(&record));
    }
}
