//! What a block is made of, and how its definition yields struct, names and reading from one list.

use super::{Counter, Gauge, Histogram, ResponseClasses, ResponseCodes};

/// One metric of a block.
#[derive(Clone, Copy, Debug)]
pub enum Metric<'a> {
    /// Grows only.
    Counter(&'a Counter),
    /// Goes up and down.
    Gauge(&'a Gauge),
    /// A distribution.
    Histogram(&'a Histogram),
    /// A family: NAME_1xx to NAME_5xx and NAME_completed.
    Classes(&'a ResponseClasses),
    /// A family: NAME_200, NAME_2xx, NAME_completed, each once used.
    Codes(&'a ResponseCodes),
}

/// A metric's name, and how a block of type `B` holds it.
pub type Definition<B> = (&'static str, for<'a> fn(&'a B) -> Metric<'a>);

/// What is counted for one thing (a cluster, a listener) by one writer.
pub trait Block: Default + Send + Sync + 'static {
    /// Its metrics, named as they appear behind the prefix of the thing.
    const METRICS: &'static [Definition<Self>];
}

/// A field type that [`block!`] accepts.
pub(super) trait Cell {
    fn metric(&self) -> Metric<'_>;
}

macro_rules! cell {
    ($($type:ident => $variant:ident),+) => {$(
        impl Cell for $type {
            fn metric(&self) -> Metric<'_> {
                Metric::$variant(self)
            }
        }
    )+};
}

cell!(
    Counter => Counter,
    Gauge => Gauge,
    Histogram => Histogram,
    ResponseClasses => Classes,
    ResponseCodes => Codes
);

/// Declares blocks: the struct and its metric names from one list. A field is named like its metric, or
/// says the metric's name after `=` when that is no identifier.
macro_rules! block {
    ($($(#[$doc:meta])* $block:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ident $(= $name:literal)?,)+
    })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $block {
            $($(#[$field_doc])* pub $field: $type,)+
        }

        impl $crate::stats::Block for $block {
            const METRICS: &'static [$crate::stats::Definition<Self>] = &[$((
                $crate::stats::metric::name!($field $($name)?),
                |block| $crate::stats::metric::Cell::metric(&block.$field),
            )),+];
        }
    )+};
}

macro_rules! name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}

pub(super) use {block, name};
