//! Events, which two groups number differently: `v1`, and `events.k8s.io/v1`, in which recorders write.

use super::Type::{Int, MicroTime, Nested, Text, Time};
use super::{Message, OBJECT_META, OBJECT_REFERENCE, message, one, pointer};

pub(super) static CORE: Message = message(
    "Event",
    &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        pointer(2, "involvedObject", Nested(&OBJECT_REFERENCE)),
        one(3, "reason", Text),
        one(4, "message", Text),
        one(5, "source", Nested(&SOURCE)),
        one(6, "firstTimestamp", Time),
        one(7, "lastTimestamp", Time),
        one(8, "count", Int),
        one(9, "type", Text),
        one(10, "eventTime", MicroTime),
        one(11, "series", Nested(&SERIES)),
        one(12, "action", Text),
        one(13, "related", Nested(&OBJECT_REFERENCE)),
        one(14, "reportingComponent", Text),
        one(15, "reportingInstance", Text),
    ],
);

static SOURCE: Message = message("EventSource", &[one(1, "component", Text), one(2, "host", Text)]);

/// `count` and `lastObservedTime` have the same numbers in both.
static SERIES: Message =
    message("EventSeries", &[one(1, "count", Int), one(2, "lastObservedTime", MicroTime)]);

pub(super) static NEWER: Message = message(
    "Event",
    &[
        pointer(1, "metadata", Nested(&OBJECT_META)),
        one(2, "eventTime", MicroTime),
        one(3, "series", Nested(&SERIES)),
        one(4, "reportingController", Text),
        one(5, "reportingInstance", Text),
        one(6, "action", Text),
        one(7, "reason", Text),
        one(8, "regarding", Nested(&OBJECT_REFERENCE)),
        one(9, "related", Nested(&OBJECT_REFERENCE)),
        one(10, "note", Text),
        one(11, "type", Text),
        one(12, "deprecatedSource", Nested(&SOURCE)),
        one(13, "deprecatedFirstTimestamp", Time),
        one(14, "deprecatedLastTimestamp", Time),
        one(15, "deprecatedCount", Int),
    ],
);
