//! `/certs`: the certificates of every TLS context (`envoy.admin.v3.Certificates`).

use std::time::SystemTime;

use serde_json::{Value as Json, json};

use super::answer::Answer;
use super::server::Admin;
use crate::tls::inventory::{Inventory, Named};
use crate::tls::x509::{AltName, Certificate};

/// All of them, context by context. Private keys are no part of it.
pub(super) fn answer(admin: &Admin) -> Answer {
    let now = SystemTime::now();
    let contexts = admin.state.certificates();
    let contexts: Vec<_> = contexts.iter().map(|context| shown(context, now)).collect();
    Answer::json(&json!({"certificates": contexts}))
}

fn shown(context: &Inventory, now: SystemTime) -> Json {
    let all = |named: &mut dyn Iterator<Item = &Named>| -> Vec<_> {
        named.filter_map(|named| details(named, now)).collect()
    };
    json!({
        "ca_cert": all(&mut context.ca.iter()),
        "cert_chain": all(&mut context.presented.iter()),
    })
}

fn details(named: &Named, now: SystemTime) -> Option<Json> {
    let certificate = Certificate::parse(&named.certificate)?;
    let left = certificate.not_after.duration_since(now).unwrap_or_default();
    let name = |name| match name {
        AltName::Dns(name) => Some(json!({"dns": name})),
        AltName::Uri(uri) => Some(json!({"uri": uri})),
        AltName::Ip(ip) => Some(json!({"ip_address": ip})),
        AltName::Email(_) => None,
    };
    Some(json!({
        // The secret's name, where Envoy says only that it is no file. Others were read when their context was made.
        "path": if named.is_secret { &*named.name } else { "<inline>" },
        "serial_number": certificate.serial_text(),
        "subject_alt_names": certificate.alt_names().filter_map(name).collect::<Vec<_>>(),
        "days_until_expiration": (left.as_secs() / 86_400).to_string(),
        "valid_from": moment(certificate.not_before),
        "expiration_time": moment(certificate.not_after),
    }))
}

/// In whole seconds, as certificates have them.
fn moment(time: SystemTime) -> String {
    prost_types::Timestamp::from(time).to_string()
}
