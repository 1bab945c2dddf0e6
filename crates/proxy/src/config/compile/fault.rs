//! Faults that are made on purpose.

use std::time::Duration;

use tidegate_envoy::v3::base::FractionalPercent;
use tidegate_envoy::v3::common_fault::FaultDelay;
use tidegate_envoy::v3::common_fault::fault_delay::FaultDelaySecifier;
use tidegate_envoy::v3::fault::fault_abort::ErrorType;
use tidegate_envoy::v3::fault::{FaultAbort, HttpFault};

use crate::config::refusal::{Refusal, Within, each};
use crate::filter::fault::{Abort, Delay, Failure, Faults};
use crate::route::Fraction;

use super::matching::{fraction, header};
use super::value::positive;

/// The filter's configuration, and a route's.
pub(super) fn faults(proto: &HttpFault) -> Result<Faults, Refusal> {
    Ok(Faults {
        delay: proto.delay.as_ref().map(delay).transpose().within("delay")?,
        abort: proto.abort.as_ref().map(abort).transpose().within("abort")?,
        headers: each("headers", &proto.headers, header)?,
        nodes: proto.downstream_nodes.iter().map(|node| node.as_bytes().into()).collect(),
        most: proto.max_active_faults,
    })
}

fn delay(proto: &FaultDelay) -> Result<Delay, Refusal> {
    let Some(FaultDelaySecifier::FixedDelay(time)) = &proto.fault_delay_secifier else {
        return Err(Refusal::of("fixed_delay", "must be set"));
    };
    Ok(Delay {
        time: positive("fixed_delay", Some(time), Duration::ZERO)?,
        share: share(proto.percentage.as_ref())?,
    })
}

fn abort(proto: &FaultAbort) -> Result<Abort, Refusal> {
    let with = match proto.error_type {
        Some(ErrorType::HttpStatus(status)) => {
            let status = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
            Failure::Http(status.ok_or_else(|| Refusal::of("http_status", "must be 200 to 599"))?)
        }
        Some(ErrorType::GrpcStatus(status)) => Failure::Grpc(status),
        Some(ErrorType::HeaderAbort(_)) | None => {
            return Err(Refusal::new("one of http_status and grpc_status must be set"));
        }
    };
    Ok(Abort { with, share: share(proto.percentage.as_ref())? })
}

/// A share of requests; without one it is none of them, as in Envoy.
fn share(proto: Option<&FractionalPercent>) -> Result<Fraction, Refusal> {
    proto.map_or(Ok(Fraction::NONE), |proto| fraction(proto).within("percentage"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::testing::proto;

    use super::*;

    #[test]
    fn faults_and_what_is_wrong_with_them() {
        let compile = |json: serde_json::Value| faults(&proto(&json));
        let whole = compile(json!({
            "delay": {"fixed_delay": "1.5s", "percentage": {"numerator": 5, "denominator": "MILLION"}},
            "abort": {"grpc_status": 14},
            "max_active_faults": 3,
        }))
        .expect("valid");
        let share = Fraction { numerator: 5, denominator: 1_000_000 };
        assert_eq!(whole.delay, Some(Delay { time: Duration::from_millis(1500), share }));
        let none = Fraction::NONE;
        assert_eq!(whole.abort, Some(Abort { with: Failure::Grpc(14), share: none }));
        assert_eq!(whole.most, Some(3));
        for (wrong, path) in [
            (json!({"delay": {}}), "delay.fixed_delay"),
            (json!({"delay": {"fixed_delay": "0s"}}), "delay.fixed_delay"),
            (json!({"abort": {}}), "abort"),
            (json!({"abort": {"http_status": 199}}), "abort.http_status"),
            (json!({"headers": [{}]}), "headers[0].name"),
        ] {
            assert_eq!(compile(wrong).expect_err(path).path, path);
        }
    }
}
