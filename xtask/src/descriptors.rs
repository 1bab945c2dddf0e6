//! The descriptor set of Envoy's types: made from the .proto files that the registry package
//! `envoy-types` ships, committed as `crates/envoy/descriptors.bin`, read by that crate's build
//! script and at run time. No .proto text is committed and no protoc is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use protox::Compiler;
use protox::file::{File, FileResolver, GoogleFileResolver};

use crate::workspace::Workspace;

/// Where the list of root files stands, relative to the workspace.
const ROOTS: &str = "crates/envoy/protos.txt";
/// Where the descriptor set is committed, relative to the workspace.
const OUTPUT: &str = "crates/envoy/descriptors.bin";

/// Writes the descriptor set; with `check`, only says whether the committed one is up to date.
pub fn run(workspace: &Workspace, check: bool) -> Result<()> {
    let made = build(workspace)?;
    let path = workspace.root.join(OUTPUT);
    if check {
        let committed = fs::read(&path).with_context(|| format!("cannot read {OUTPUT}"))?;
        if committed != made {
            bail!("{OUTPUT} differs from what {ROOTS} gives: run `cargo xtask descriptors`");
        }
        return Ok(());
    }
    fs::write(&path, &made).with_context(|| format!("cannot write {OUTPUT}"))?;
    println!("{OUTPUT}: {} bytes", made.len());
    Ok(())
}

/// Compiles every root with a compiler of its own and merges the files they need, imports first.
fn build(workspace: &Workspace) -> Result<Vec<u8>> {
    let source = ProtoSource::locate(workspace)?;
    let roots = fs::read_to_string(workspace.root.join(ROOTS))
        .with_context(|| format!("cannot read {ROOTS}"))?;
    let mut seen = BTreeSet::new();
    let mut set = FileDescriptorSet::default();
    for root in root_files(&roots) {
        let mut compiler = Compiler::with_file_resolver(source.clone());
        compiler.include_imports(true).include_source_info(false);
        compiler.open_file(root).with_context(|| format!("{ROOTS}: {root} does not compile"))?;
        // Custom options (validation rules, annotations) are not kept: nothing reads them.
        for file in compiler.file_descriptor_set().file {
            if seen.insert(file.name().to_owned()) {
                set.file.push(file);
            }
        }
    }
    set.file.push(typed_struct("udpa/type/v1/typed_struct.proto", "udpa.type.v1"));
    set.file.push(typed_struct("xds/type/v3/typed_struct.proto", "xds.type.v3"));
    Ok(set.encode_to_vec())
}

/// The lines of the list that name a file, without comments and marks.
fn root_files(list: &str) -> impl Iterator<Item = &str> {
    list.lines()
        .map(|line| line.trim().trim_start_matches('~'))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// `TypedStruct`, a configuration in JSON with the URL of the type it stands for (EnvoyFilters use
/// it). `envoy-types` lacks both of its spellings, so its two fields are written here.
fn typed_struct(file: &str, package: &str) -> FileDescriptorProto {
    let field = |name: &str, number, kind, type_name: Option<&str>| FieldDescriptorProto {
        name: Some(name.to_owned()),
        json_name: Some(if name == "type_url" { "typeUrl" } else { name }.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(i32::from(kind)),
        type_name: type_name.map(str::to_owned),
        ..FieldDescriptorProto::default()
    };
    FileDescriptorProto {
        name: Some(file.to_owned()),
        package: Some(package.to_owned()),
        dependency: vec!["google/protobuf/struct.proto".to_owned()],
        message_type: vec![DescriptorProto {
            name: Some("TypedStruct".to_owned()),
            field: vec![
                field("type_url", 1, Type::String, None),
                field("value", 2, Type::Message, Some(".google.protobuf.Struct")),
            ],
            ..DescriptorProto::default()
        }],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    }
}

/// The .proto folders of `envoy-types`, as a resolver that mends what protox refuses.
#[derive(Clone)]
struct ProtoSource {
    folders: Vec<PathBuf>,
}

impl ProtoSource {
    fn locate(workspace: &Workspace) -> Result<Self> {
        let package = workspace.package("envoy-types")?;
        let base = package.manifest_path.as_std_path().parent().unwrap_or(Path::new("."));
        let base = base.join("proto");
        let mut folders = vec![base.join("cel-spec/proto")];
        for entry in fs::read_dir(&base).with_context(|| format!("no {}", base.display()))? {
            folders.push(entry?.path());
        }
        folders.sort();
        Ok(Self { folders })
    }
}

impl FileResolver for ProtoSource {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let Some(path) = self.folders.iter().map(|f| f.join(name)).find(|p| p.is_file()) else {
            return GoogleFileResolver::new().open_file(name);
        };
        let text = fs::read_to_string(path).map_err(protox::Error::new)?;
        File::from_source(name, &absolute_names(&text))
    }
}

/// protoc looks for `common.dynamic_forward_proxy…` in the file's own imports only; protox finds
/// the package `envoy.extensions.filters.common` first and gives up. An absolute name is the same
/// type to both.
fn absolute_names(text: &str) -> String {
    text.replace(
        " common.dynamic_forward_proxy.v3.",
        " .envoy.extensions.common.dynamic_forward_proxy.v3.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_set_is_what_the_package_gives() {
        let workspace = Workspace::load().expect("cargo metadata");
        run(&workspace, true).expect("descriptors.bin is up to date");
    }

    #[test]
    fn marks_and_comments_are_not_part_of_a_name() {
        let list = "# a comment\n\nenvoy/a.proto\n~envoy/b.proto\n";
        assert_eq!(root_files(list).collect::<Vec<_>>(), ["envoy/a.proto", "envoy/b.proto"]);
    }
}
