//! What cargo knows about the workspace, and how commands are run in it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand, Package};

/// The workspace as `cargo metadata` describes it.
pub struct Workspace {
    /// The folder of the root `Cargo.toml`.
    pub root: PathBuf,
    /// All packages and the resolved graph, for every target: a package behind a `cfg` is listed too.
    pub metadata: Metadata,
}

impl Workspace {
    /// Asks cargo; packages that are not there yet are downloaded.
    pub fn load() -> Result<Self> {
        let metadata = MetadataCommand::new()
            .other_options(vec!["--locked".to_owned()])
            .exec()
            .context("`cargo metadata` failed")?;
        Ok(Self { root: metadata.workspace_root.clone().into(), metadata })
    }

    /// The only package of that name in the graph.
    pub fn package(&self, name: &str) -> Result<&Package> {
        let mut found = self.metadata.packages.iter().filter(|p| p.name.as_str() == name);
        match (found.next(), found.next()) {
            (Some(package), None) => Ok(package),
            (None, _) => bail!("no package `{name}` in the workspace's dependency graph"),
            (Some(_), Some(_)) => bail!("more than one version of `{name}` in the graph"),
        }
    }

    /// The folder that cargo builds into.
    pub fn target(&self) -> PathBuf {
        self.metadata.target_directory.clone().into()
    }

    /// A command that runs in the root of the workspace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }
}
