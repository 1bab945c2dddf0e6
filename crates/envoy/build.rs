//! Generates Rust types from the committed descriptor set: messages only, no services, and only
//! for the files that `protos.txt` lists without a mark, with their imports.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=descriptors.bin");
    println!("cargo::rerun-if-changed=protos.txt");
    let all = FileDescriptorSet::decode(fs::read("descriptors.bin")?.as_slice())?;
    let roots = fs::read_to_string("protos.txt")?;
    let wanted = with_imports(&all, roots.lines().filter(|line| line.ends_with(".proto")));
    let set = FileDescriptorSet {
        file: all.file.into_iter().filter(|file| is_needed(&wanted, file)).collect(),
    };
    prost_build::Config::new()
        .btree_map(["."]) // maps encode in key order, so equal resources have equal bytes
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .include_file("types.rs")
        .compile_fds(set)?;
    Ok(())
}

/// The named files and everything they import, directly or not.
fn with_imports<'a>(
    all: &'a FileDescriptorSet,
    roots: impl Iterator<Item = &'a str>,
) -> BTreeSet<String> {
    let by_name: BTreeMap<&str, &FileDescriptorProto> =
        all.file.iter().map(|file| (file.name(), file)).collect();
    let mut open: Vec<&str> = roots.filter(|line| !line.starts_with(['~', '#'])).collect();
    let mut wanted = BTreeSet::new();
    while let Some(name) = open.pop() {
        if wanted.insert(name.to_owned())
            && let Some(file) = by_name.get(name)
        {
            open.extend(file.dependency.iter().map(String::as_str));
        }
    }
    wanted
}

/// `google.protobuf` stays in: prost-build looks every imported type up.
fn is_needed(wanted: &BTreeSet<String>, file: &FileDescriptorProto) -> bool {
    wanted.contains(file.name())
        || file.package() == "google.protobuf"
        || file.name().ends_with("/typed_struct.proto")
}
