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

    /// The text of a file of the workspace.
    pub fn read(&self, name: &str) -> Result<String> {
        std::fs::read_to_string(self.root.join(name)).with_context(|| format!("cannot read {name}"))
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

    /// The cargo that runs this program.
    pub fn cargo(&self) -> Command {
        self.command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
    }
}

/// Runs a command to its end; an error unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or(&program).to_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}
