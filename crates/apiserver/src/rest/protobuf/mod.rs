//! Protobuf request bodies, which kubectl 1.32 sends for `create secret`, `create namespace` and their like.
//!
//! A body is the bytes `k8s\0` and a message that names `apiVersion` and `kind` and holds the object. A small
//! table of field numbers ([`schema`]) turns the object into the JSON that everything else here reads. A field
//! that the table does not have is refused when it says something: nothing is dropped in silence. Known gaps:
//! what `status` of a kind holds beyond a Pod's addresses; clients send that as JSON. Answers are never protobuf.

mod schema;
mod wire;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use schema::{Field, Message, Type};
use wire::{Reader, Wire};

/// What every body starts with.
const MAGIC: &[u8] = b"k8s\0";
/// Messages within messages: more than any object has.
const DEPTH: usize = 32;

/// Decodes a body into JSON, with `apiVersion` and `kind`.
///
/// # Errors
///
/// What is wrong, or what is not read from protobuf here.
pub(crate) fn decode(body: &[u8]) -> Result<Value, String> {
    let body = body.strip_prefix(MAGIC).ok_or("the body does not start with the bytes k8s\\0")?;
    let (mut api_version, mut kind) = (String::new(), String::new());
    let mut raw: &[u8] = &[];
    let mut reader = Reader::new(body);
    while let Some((number, value)) = reader.next()? {
        match (number, value) {
            (1, Wire::Bytes(meta)) => {
                let mut meta = Reader::new(meta);
                while let Some(field) = meta.next()? {
                    match field {
                        (1, Wire::Bytes(text)) => api_version = wire::text(text)?.to_owned(),
                        (2, Wire::Bytes(text)) => kind = wire::text(text)?.to_owned(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            (3, Wire::Bytes(encoding)) if !encoding.is_empty() => {
                return Err("the object within the body has an encoding of its own".into());
            }
            _ => {}
        }
    }
    let message = schema::of(&api_version, &kind).ok_or_else(|| {
        format!(
            "{api_version} {kind:?} is not read from protobuf here: send it as application/json"
        )
    })?;
    let mut object = decode_message(message, raw, DEPTH)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

fn decode_message(
    message: &Message,
    bytes: &[u8],
    depth: usize,
) -> Result<Map<String, Value>, String> {
    if depth == 0 {
        return Err("messages are nested too deeply".into());
    }
    let mut object = Map::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        let Some(field) = message.fields.iter().find(|field| field.number == number) else {
            if wire.is_zero() || message.ignored.contains(&number) {
                continue;
            }
            return Err(format!(
                "field {number} of {} is not read from protobuf here: send the object as application/json",
                message.name
            ));
        };
        decode_field(field, wire, depth, &mut object)?;
    }
    Ok(object)
}

fn decode_field(
    field: &Field,
    wire: Wire<'_>,
    depth: usize,
    object: &mut Map<String, Value>,
) -> Result<(), String> {
    let wrong = || format!("field {} has the wrong type", field.name);
    match &field.kind {
        Type::TextMap | Type::BytesMap | Type::QuantityMap => {
            let Wire::Bytes(entry) = wire else { return Err(wrong()) };
            let (key, value) = map_entry(field, entry)?;
            let map = object.entry(field.name).or_insert_with(|| json!({}));
            if let Value::Object(map) = map {
                map.insert(key, value);
            }
            return Ok(());
        }
        Type::Inline(message) => {
            let Wire::Bytes(bytes) = wire else { return Err(wrong()) };
            object.append(&mut decode_message(message, bytes, depth - 1)?);
            return Ok(());
        }
        _ => {}
    }
    // Go writes every field that is not a pointer; its zero value means that nobody set it.
    if wire.is_zero() && !field.keep_zero {
        return Ok(());
    }
    let value = match (&field.kind, wire) {
        (Type::Text, Wire::Bytes(bytes)) => wire::text(bytes)?.into(),
        (Type::Int, Wire::Varint(number)) => number.cast_signed().into(),
        (Type::Bool, Wire::Varint(number)) => (number != 0).into(),
        (Type::Time, Wire::Bytes(bytes)) => time(bytes, false)?,
        (Type::MicroTime, Wire::Bytes(bytes)) => time(bytes, true)?,
        (Type::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
        (Type::Quantity, Wire::Bytes(bytes)) => quantity(bytes)?.into(),
        (Type::Nested(message), Wire::Bytes(bytes)) => {
            let nested = decode_message(message, bytes, depth - 1)?;
            if nested.is_empty() && !field.repeated && !field.keep_zero {
                return Ok(());
            }
            nested.into()
        }
        _ => return Err(wrong()),
    };
    if field.repeated {
        let list = object.entry(field.name).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(value);
        }
    } else {
        object.insert(field.name.into(), value);
    }
    Ok(())
}

fn map_entry(field: &Field, bytes: &[u8]) -> Result<(String, Value), String> {
    let mut key = String::new();
    let mut raw: &[u8] = &[];
    let mut reader = Reader::new(bytes);
    while let Some(entry) = reader.next()? {
        match entry {
            (1, Wire::Bytes(text)) => key = wire::text(text)?.to_owned(),
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => return Err(format!("an entry of {} is malformed", field.name)),
        }
    }
    let value = match field.kind {
        Type::BytesMap => tidegate_api::base64::encode(raw).into(),
        Type::QuantityMap => quantity(raw)?.into(),
        _ => wire::text(raw)?.into(),
    };
    Ok((key, value))
}

/// An amount of something, as text.
fn quantity(bytes: &[u8]) -> Result<&str, String> {
    let mut amount = "";
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        if let (1, Wire::Bytes(text)) = field {
            amount = wire::text(text)?;
        }
    }
    Ok(amount)
}

/// Seconds and nanoseconds since 1970.
fn time(bytes: &[u8], micro: bool) -> Result<Value, String> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field {
            (1, Wire::Varint(value)) => seconds = value.cast_signed(),
            (2, Wire::Varint(value)) => nanos = i32::try_from(value).unwrap_or_default(),
            _ => {}
        }
    }
    let time = Timestamp::new(seconds, nanos).map_err(|error| error.to_string())?;
    Ok(match micro {
        true => time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into(),
        false => crate::clock::whole_seconds(time).into(),
    })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut text) = (false, 0_i64, "");
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(value)) => text = wire::text(value)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

#[cfg(test)]
mod tests;
